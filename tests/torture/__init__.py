"""Kills, power cuts, flipped bytes, full disks, two processes at once and hostile input.

``python -m tests.torture NAME`` runs one kind at full length, ``make torture`` all of them. The
tests in this folder are a small form of the same. What came out stands in ``docs/reliability.md``.
"""
