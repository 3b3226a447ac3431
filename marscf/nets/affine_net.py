"""The network of Glow's affine coupling (Kingma and Dhariwal, arXiv 1807.03039)."""

import torch
from torch import Tensor, nn

from marscf.kernels.conv import convolution, scaled_convolution
from marscf.nets.channel_norm import ChannelNorm


class NormConv2d(nn.Module):
    """A convolution without bias, then ActNorm: `(W ∗ x + b) exp(s)`, of the image's size."""

    def __init__(self, in_channels: int, out_channels: int, kernel_size: int):
        super().__init__()
        self.weight = nn.Parameter(0.05 * torch.randn(out_channels, in_channels, kernel_size, kernel_size))
        self.norm = ChannelNorm(out_channels)

    def forward(self, x: Tensor, relu: bool = False) -> Tensor:
        """Map `x (B,in,H,W)` to `(B,out,H,W)`, with a ReLU after it where asked for."""
        if self.norm.waiting:
            with torch.no_grad():
                self.norm.initialise(convolution(x, self.weight))
        return scaled_convolution(x, self.weight, self.norm.bias, self.norm.log_scale, relu=relu)


class ZeroConv2d(nn.Module):
    """A 3×3 convolution that starts at zero, its output scaled per channel: `(W ∗ x + b) exp(3 s)` (Glow)."""

    def __init__(self, in_channels: int, out_channels: int):
        super().__init__()
        self.weight = nn.Parameter(torch.zeros(out_channels, in_channels, 3, 3))
        self.bias = nn.Parameter(torch.zeros(out_channels))
        self.log_scale = nn.Parameter(torch.zeros(out_channels, 1, 1))

    def forward(self, x: Tensor) -> Tensor:
        """Map `x (B,in,H,W)` to `(B,out,H,W)`."""
        return scaled_convolution(x, self.weight, self.bias, self.log_scale, rate=3.0)


class AffineNet(nn.Module):
    """conv3×3, ActNorm, ReLU, conv1×1, ActNorm, ReLU, zero-initialised conv3×3."""

    def __init__(self, in_channels: int, channels: int, out_channels: int):
        super().__init__()
        self.first = NormConv2d(in_channels, channels, 3)
        self.second = NormConv2d(channels, channels, 1)
        self.last = ZeroConv2d(channels, out_channels)

    def forward(self, x: Tensor) -> Tensor:
        """Map `x (B,in,H,W)` to `(B,out,H,W)`."""
        h = self.first(x, relu=True)
        h = self.second(h, relu=True)
        out: Tensor = self.last(h)
        return out
