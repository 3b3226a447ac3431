"""Throughput, memory and cost growth, measured side by side with a step-by-step reference."""
