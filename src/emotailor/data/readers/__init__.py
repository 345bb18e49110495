"""Readers of the files people have: one file per foreign format."""
