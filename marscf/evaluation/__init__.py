"""Measurement: likelihood, samples, and their fidelity to real images."""
