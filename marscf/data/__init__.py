"""Datasets: where they come from, how they are decoded and verified, and how training reads them."""
