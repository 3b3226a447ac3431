"""What makes the same numbers fast on a GPU: CUDA graphs, compiled parts, a kernel."""
