"""Weight-normalised layers (Salimans and Kingma, arXiv 1602.07868)."""

import torch
from torch import Tensor, nn
from torch.nn import functional

from marscf.kernels.cached import derived
from marscf.kernels.conv import convolution, weight_norm


class WeightNorm(nn.Module):
    """A weight `g v / |v|`, one norm per output channel, initialised as PyTorch does a plain layer.

    `direction` is v, `(out, in, …)`; `gain` is g, `(out, 1, …)`; `bias` is `(out,)` or None.
    """

    def __init__(self, layer: nn.Conv2d | nn.Linear):
        super().__init__()
        v = layer.weight.detach().clone()
        self.direction = nn.Parameter(v)
        self.gain = nn.Parameter(torch.linalg.vector_norm(v, dim=list(range(1, v.ndim)), keepdim=True))
        self.bias = None if layer.bias is None else nn.Parameter(layer.bias.detach().clone())

    @derived
    def weight(self) -> Tensor:
        """The normalised weight, `(out, in, …)`."""
        return weight_norm(self.direction, self.gain)


class WeightNormConv2d(WeightNorm):
    """A weight-normalised convolution that keeps the image's size."""

    def __init__(self, in_channels: int, out_channels: int, kernel_size: int):
        super().__init__(nn.Conv2d(in_channels, out_channels, kernel_size))

    def forward(self, x: Tensor) -> Tensor:
        """Map `x (B,in,H,W)` to `(B,out,H,W)`."""
        return convolution(x, self.weight(), self.bias)


class WeightNormLinear(WeightNorm):
    """A weight-normalised linear map of the last axis."""

    def __init__(self, in_features: int, out_features: int, bias: bool = True):
        super().__init__(nn.Linear(in_features, out_features, bias=bias))

    def forward(self, x: Tensor) -> Tensor:
        """Map `x (…,in)` to `(…,out)`."""
        return functional.linear(x, self.weight(), self.bias)
