"""Bijections, each in a file of its own; one loop tests them all (tests/flows)."""
