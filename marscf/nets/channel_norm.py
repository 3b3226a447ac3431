"""A shift and scale a channel, initialised from data."""

import torch
from torch import Tensor, nn

from marscf.nets.precision import at_least_float32


class ChannelNorm(nn.Module):
    """Holds `bias` and `log_scale`, `(C,1,1)` each, for `(x + bias) exp(log_scale)`.

    The first batch seen in training mode sets both so that the result has mean 0 and variance 1 a channel
    (Kingma and Dhariwal, arXiv 1807.03039, section 3.1), once in the life of the weights: `initialised`
    travels with them. Whoever applies it asks `waiting` first and calls `initialise`.
    """

    def __init__(self, channels: int):
        super().__init__()
        self.bias = nn.Parameter(torch.zeros(channels, 1, 1))
        self.log_scale = nn.Parameter(torch.zeros(channels, 1, 1))
        self.register_buffer("initialised", torch.tensor(False))
        self._known = False  # that `initialised` is true: spares a wait for the device in each forward

    @property
    def waiting(self) -> bool:
        """Whether the next forward is to initialise."""
        if not self._known and self.training:
            self._known = bool(self.initialised)
        return self.training and not self._known

    def _load_from_state_dict(self, *args, **kwargs) -> None:
        self._known = False
        super()._load_from_state_dict(*args, **kwargs)

    @torch.no_grad()
    def initialise(self, x: Tensor) -> None:
        """Set shift and scale from a batch `x (B,C,H,W)`."""
        variance, mean = torch.var_mean(at_least_float32(x), dim=(0, 2, 3), correction=0)
        self.bias.copy_(-mean[:, None, None])
        self.log_scale.copy_(-torch.log(variance.sqrt() + 1e-6)[:, None, None])
        self.initialised.fill_(True)
        self._known = True
