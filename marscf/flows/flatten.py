"""Flatten: every position becomes a channel of its own."""

import torch
from torch import Tensor

from marscf.flows.bijection import Bijection


class Flatten(Bijection):
    """`(B,C,H,W)` to `(B,CHW,1,1)`: on it a 1×1 convolution is a fully connected layer.

    Args:
        shape: (C, H, W) of the images.
    """

    def __init__(self, shape: tuple[int, int, int]):
        super().__init__()
        self.shape = shape

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """See `Bijection.forward`; log_det is 0."""
        return x.reshape(len(x), -1, 1, 1), torch.zeros(len(x), dtype=x.dtype, device=x.device)

    def inverse(self, z: Tensor) -> Tensor:
        """See `Bijection.inverse`."""
        return z.reshape(len(z), *self.shape)
