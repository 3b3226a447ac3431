"""Where single precision is kept although the networks run in bfloat16."""

import torch
from torch import Tensor


def exact(x: Tensor) -> torch.autocast:
    """A block in which autocast is off: log-determinants, densities and 1×1 convolutions of the flow."""
    return torch.autocast(x.device.type, enabled=False)


def at_least_float32(x: Tensor) -> Tensor:
    """Return `x`, as float32 where it has a lower precision."""
    return x.float() if x.dtype in (torch.bfloat16, torch.float16) else x
