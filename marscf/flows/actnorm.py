"""ActNorm: a learned shift and scale a channel, initialised from data."""

import torch
from torch import Tensor

from marscf.flows.bijection import Bijection
from marscf.nets.channel_norm import ChannelNorm
from marscf.nets.precision import exact


class ActNorm(ChannelNorm, Bijection):
    """`z = (x + bias) exp(log_scale)` a channel, initialised by the first training batch."""

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """See `Bijection.forward`; `log_det = H W Σ log_scale`."""
        if self.waiting:
            self.initialise(x)
        with exact(x):
            log_det = self.log_scale.sum() * (x.shape[2] * x.shape[3])
            return (x + self.bias) * torch.exp(self.log_scale), log_det.expand(len(x))

    def inverse(self, z: Tensor) -> Tensor:
        """See `Bijection.inverse`."""
        return z * torch.exp(-self.log_scale) - self.bias
