"""Training: the loop, its schedule, checkpoints, and how several processes share one batch."""
