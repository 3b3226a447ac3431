"""Bijections: one a file, all tested by one loop (tests/flows)."""
