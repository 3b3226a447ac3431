"""Bijections of the two halves of the channels, each by itself."""

from typing import Any

import torch
from torch import Tensor

from marscf.flows.bijection import Bijection
from marscf.flows.conv1x1 import InvertibleConv1x1


class HalvesConv1x1(Bijection):
    """An invertible 1×1 convolution on each half of an even number of channels; see `InvertibleConv1x1`."""

    def __init__(self, channels: int, noise: float | None = None):
        super().__init__()
        self.first = InvertibleConv1x1(channels // 2, noise)
        self.second = InvertibleConv1x1(channels // 2, noise)

    def forward(self, x: Tensor, context: Any = None) -> tuple[Tensor, Tensor]:
        """See `Bijection.forward`."""
        a, b = x.chunk(2, dim=1)
        (a, log_det_a), (b, log_det_b) = self.first(a), self.second(b)
        return torch.cat((a, b), dim=1), log_det_a + log_det_b

    def inverse(self, z: Tensor, context: Any = None) -> Tensor:
        """See `Bijection.inverse`."""
        a, b = z.chunk(2, dim=1)
        return torch.cat((self.first.inverse(a), self.second.inverse(b)), dim=1)


class SwapHalves(Bijection):
    """The halves change places; its own inverse."""

    def forward(self, x: Tensor, context: Any = None) -> tuple[Tensor, Tensor]:
        """See `Bijection.forward`; log_det is 0."""
        return self.inverse(x), x.new_zeros(len(x))

    def inverse(self, z: Tensor, context: Any = None) -> Tensor:
        """See `Bijection.inverse`."""
        a, b = z.chunk(2, dim=1)
        return torch.cat((b, a), dim=1)
