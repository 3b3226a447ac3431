"""What makes the same numbers fast: compiled parts; on a GPU CUDA graphs and a kernel."""
