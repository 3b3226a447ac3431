"""ActNorm: a learned shift and scale per channel or per position, initialised from data."""

from typing import Any

import torch
from torch import Tensor

from marscf.flows.bijection import Bijection
from marscf.kernels.precision import exact
from marscf.nets.channel_norm import ChannelNorm


class ActNorm(ChannelNorm, Bijection):
    """`z = (x + bias) exp(log_scale)`, initialised by the first training batch (see `ChannelNorm`).

    Per channel as in Glow (arXiv 1807.03039, section 3.1); given the images' `size`, per position as in the
    public code of Flow++ (arXiv 1902.00275).
    """

    def forward(self, x: Tensor, context: Any = None) -> tuple[Tensor, Tensor]:
        """See `Bijection.forward`; `log_det` is the sum of `log_scale` over all positions."""
        if self.waiting:
            self.initialise(x)
        with exact(x):
            log_det = self.log_scale.sum() * (x.shape[1:].numel() // self.log_scale.numel())
            return (x + self.bias) * torch.exp(self.log_scale), log_det.expand(len(x))

    def inverse(self, z: Tensor, context: Any = None) -> Tensor:
        """See `Bijection.inverse`."""
        return z * torch.exp(-self.log_scale) - self.bias
