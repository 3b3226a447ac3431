"""Activations that are computed again in the backward pass, so that they need not be kept."""

from typing import Any

import torch
from torch import nn
from torch.utils.checkpoint import checkpoint


def run(module: nn.Module, *inputs: Any, recompute: bool) -> Any:
    """Return `module(*inputs)`; with `recompute` its inputs alone are kept for the backward pass."""
    if recompute and torch.is_grad_enabled():
        return checkpoint(module, *inputs, use_reentrant=False)
    return module(*inputs)
