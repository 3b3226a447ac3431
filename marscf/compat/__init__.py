"""Checkpoints of other codes, brought in."""
