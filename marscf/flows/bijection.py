"""The contract of a bijection.

`forward` runs from data to noise and `inverse` from noise to data;
`log p(x) = log p(forward(x)) + log_det`, with `log_det = log |det ∂z/∂x|` in nats.
"""

from abc import ABC, abstractmethod
from typing import Any

from torch import Tensor, nn


class Bijection(nn.Module, ABC):
    """An invertible map of image tensors `(B,C,H,W)`; subclasses implement `forward` and `inverse`.

    `context` is what else the map depends on, such as an image. Most bijections depend on nothing else, and
    ignore it.
    """

    @abstractmethod
    def forward(self, x: Tensor, context: Any = None) -> tuple[Tensor, Tensor]:
        """Map data to noise: `x (B,C,H,W)` → `z (B,C',H',W')` and `log_det (B,)` in nats."""

    @abstractmethod
    def inverse(self, z: Tensor, context: Any = None) -> Tensor:
        """Map noise to data, the inverse of `forward` in `z`; differentiable in `z`."""
