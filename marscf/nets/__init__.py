"""Networks inside layers: they know nothing of densities."""
