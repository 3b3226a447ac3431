"""Weight-normalised layers (Salimans and Kingma, arXiv 1602.07868), folded when no gradient is needed."""

import torch
from torch import Tensor, nn
from torch.nn import functional

from marscf.nets.cached import Cached, Caching


class WeightNorm(Caching):
    """A weight `g v / |v|`, one norm an output channel, initialised as PyTorch does a plain layer.

    `direction` is v, `(out, in, …)`; `gain` is g, `(out, 1, …)`; `bias` is `(out,)` or None.
    """

    def __init__(self, layer: nn.Conv2d | nn.Linear):
        super().__init__()
        self.direction = nn.Parameter(layer.weight.detach().clone())
        self.gain = nn.Parameter(self._norm().detach())
        self.bias = None if layer.bias is None else nn.Parameter(layer.bias.detach().clone())
        self._folded = Cached()

    def _norm(self) -> Tensor:
        return torch.linalg.vector_norm(self.direction, dim=list(range(1, self.direction.ndim)), keepdim=True)

    @property
    def weight(self) -> Tensor:
        """The normalised weight, `(out, in, …)`."""
        return self._folded.get(
            [self.gain, self.direction], lambda: torch._weight_norm(self.direction, self.gain, 0)
        )


class WeightNormConv2d(WeightNorm):
    """A weight-normalised convolution that keeps the image's size."""

    def __init__(self, in_channels: int, out_channels: int, kernel_size: int):
        super().__init__(nn.Conv2d(in_channels, out_channels, kernel_size))
        self.padding = kernel_size // 2

    def forward(self, x: Tensor) -> Tensor:
        """Map `x (B,in,H,W)` to `(B,out,H,W)`."""
        return functional.conv2d(x, self.weight, self.bias, padding=self.padding)


class WeightNormLinear(WeightNorm):
    """A weight-normalised linear map of the last axis."""

    def __init__(self, in_features: int, out_features: int, bias: bool = True):
        super().__init__(nn.Linear(in_features, out_features, bias=bias))

    def forward(self, x: Tensor) -> Tensor:
        """Map `x (…,in)` to `(…,out)`."""
        return functional.linear(x, self.weight, self.bias)
