"""Where single precision is kept although the networks run in bfloat16."""

import contextlib
from collections.abc import Iterator

import torch
from torch import Tensor


def exact(x: Tensor) -> torch.autocast:
    """A block in which autocast is off: log-determinants, densities and 1×1 convolutions of the flow."""
    return torch.autocast(x.device.type, enabled=False)


@contextlib.contextmanager
def tf32(on: bool) -> Iterator[None]:
    """Let float32 products and convolutions of a GPU run in TF32 inside the block, or not."""
    matmul, convolution = torch.backends.cuda.matmul, torch.backends.cudnn
    before = matmul.allow_tf32, convolution.allow_tf32
    matmul.allow_tf32 = convolution.allow_tf32 = on
    try:
        yield
    finally:
        matmul.allow_tf32, convolution.allow_tf32 = before


def at_least_float32(x: Tensor) -> Tensor:
    """Return `x`, as float32 where it has a lower precision."""
    return x.float() if x.dtype in (torch.bfloat16, torch.float16) else x
