"""Decoding: search, bounds, results a line at a time."""
