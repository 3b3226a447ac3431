"""What every image passes first: a shift to mean 0, or the logit to unbounded values."""

import math
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional

from marscf.flows.bijection import Bijection
from marscf.kernels.precision import exact


class Centre(Bijection):
    """`z = x - 1/2`."""

    def forward(self, x: Tensor, context: Any = None) -> tuple[Tensor, Tensor]:
        """See `Bijection.forward`; log_det is 0."""
        return x - 0.5, x.new_zeros(len(x))

    def inverse(self, z: Tensor, context: Any = None) -> Tensor:
        """See `Bijection.inverse`."""
        return z + 0.5


class Logit(Bijection):
    """`z = logit(margin + (1 - 2 margin) x)` for x in [0,1] (RealNVP, arXiv 1605.08803).

    The margin is in (0,1/2).
    """

    def __init__(self, margin: float = 0.05):
        super().__init__()
        self.margin, self.width = margin, 1 - 2 * margin

    def forward(self, x: Tensor, context: Any = None) -> tuple[Tensor, Tensor]:
        """See `Bijection.forward`; with p = σ(z), `log_det = Σ log width - log p - log(1 - p)`."""
        with exact(x):
            # Bounded by eps: an image that a flow drew may lie outside [0,1], where there is no logit.
            z = torch.logit(self.margin + self.width * x, eps=torch.finfo(x.dtype).eps)
            slopes = math.log(self.width) - functional.logsigmoid(z) - functional.logsigmoid(-z)
            return z, slopes.flatten(1).sum(1)

    def inverse(self, z: Tensor, context: Any = None) -> Tensor:
        """See `Bijection.inverse`; unbounded z give x a little beyond [0,1]."""
        return (torch.sigmoid(z) - self.margin) / self.width
