"""The identity, where a transform is optional."""

import torch
from torch import Tensor

from marscf.flows.bijection import Bijection


class Identity(Bijection):
    """`z = x`."""

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """See `Bijection.forward`; log_det is 0."""
        return x, torch.zeros(len(x), dtype=x.dtype, device=x.device)

    def inverse(self, z: Tensor) -> Tensor:
        """See `Bijection.inverse`."""
        return z
