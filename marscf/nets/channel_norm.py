"""A shift and scale per channel or per position, initialised from data."""

from typing import Any

import torch
from torch import Tensor, nn

from marscf.kernels.precision import at_least_float32

FEW = 32  # images: over fewer, a position's mean and variance are worse than its channel's


class ChannelNorm(nn.Module):
    """Holds `bias` and `log_scale`, `(C,1,1)` each, for `(x + bias) exp(log_scale)`.

    The first batch seen in training mode sets both so that the result has mean 0 and variance 1 in each
    channel (Kingma and Dhariwal, arXiv 1807.03039, section 3.1), once in the life of the weights:
    `initialised` travels with them. Whoever applies it asks `waiting` first and calls `initialise`.

    Args:
        channels: C.
        size: (H, W) of the images, for a shift and scale per position, `(C,H,W)` each; they are set from the
            batch alone, so a batch of fewer than FEW images sets them per channel.
        least_variance: what a variance is raised to before it is divided by.
    """

    initialised: Tensor

    def __init__(self, channels: int, size: tuple[int, int] = (1, 1), least_variance: float = 0.0):
        super().__init__()
        self.bias = nn.Parameter(torch.zeros(channels, *size))
        self.log_scale = nn.Parameter(torch.zeros(channels, *size))
        self.least_variance = least_variance
        self.register_buffer("initialised", torch.tensor(False))
        self._known = False  # that `initialised` is true, so that the tensor need not be read again

    @property
    def waiting(self) -> bool:
        """Whether the next forward is to initialise."""
        if not self._known and self.training:
            self._known = bool(self.initialised)
        return self.training and not self._known

    def _load_from_state_dict(self, state: dict[str, Tensor], prefix: str, *args: Any) -> None:
        self._known = False
        if prefix + "bias" not in state:  # of another image size and left out: the flag is not ours
            state.pop(prefix + "initialised", None)
        super()._load_from_state_dict(state, prefix, *args)

    @torch.no_grad()
    def initialise(self, x: Tensor) -> None:
        """Set shift and scale from a batch `x (B,C,H,W)`."""
        per_position = self.bias[0].numel() > 1 and len(x) >= FEW
        over = (0,) if per_position else (0, 2, 3)
        variance, mean = torch.var_mean(at_least_float32(x), dim=over, correction=0, keepdim=True)
        self.bias.copy_(-mean[0])
        self.log_scale.copy_(-torch.log(variance[0].clamp(min=self.least_variance).sqrt() + 1e-6))
        self.initialised.fill_(True)
        self._known = True
