"""Sequences with times: cut into segments, aligned to words."""
