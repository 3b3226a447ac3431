"""The network of Glow's affine coupling."""

import torch
from torch import Tensor, nn
from torch.nn import functional

from marscf.gpu.fused import fused, fusing
from marscf.nets.cached import Cached
from marscf.nets.channel_norm import ChannelNorm


class NormConv2d(nn.Module):
    """A convolution without bias, then ActNorm; the two are one convolution once initialised."""

    def __init__(self, in_channels: int, out_channels: int, kernel_size: int):
        super().__init__()
        self.weight = nn.Parameter(0.05 * torch.randn(out_channels, in_channels, kernel_size, kernel_size))
        self.norm = ChannelNorm(out_channels)
        self.padding = kernel_size // 2
        self._folded = Cached()

    def forward(self, x: Tensor) -> Tensor:
        """Map `x (B,in,H,W)` to `(B,out,H,W)`."""
        if not torch.compiler.is_compiling() and self.norm.waiting:
            with torch.no_grad():
                self.norm.initialise(functional.conv2d(x, self.weight, padding=self.padding))
        sources = [self.weight, self.norm.bias, self.norm.log_scale]
        return functional.conv2d(x, *self._folded.get(sources, self._fold), padding=self.padding)

    def _fold(self) -> tuple[Tensor, Tensor]:
        scale = torch.exp(self.norm.log_scale)
        return self.weight * scale.unsqueeze(1), (self.norm.bias * scale).flatten()


class ZeroConv2d(nn.Module):
    """A 3×3 convolution that starts at zero, its output scaled by `exp(3 log_scale)` a channel (Glow)."""

    def __init__(self, in_channels: int, out_channels: int):
        super().__init__()
        self.weight = nn.Parameter(torch.zeros(out_channels, in_channels, 3, 3))
        self.bias = nn.Parameter(torch.zeros(out_channels))
        self.log_scale = nn.Parameter(torch.zeros(out_channels, 1, 1))
        self._folded = Cached()

    def forward(self, x: Tensor) -> Tensor:
        """Map `x (B,in,H,W)` to `(B,out,H,W)`."""
        sources = [self.weight, self.bias, self.log_scale]
        return functional.conv2d(x, *self._folded.get(sources, self._fold), padding=1)

    def _fold(self) -> tuple[Tensor, Tensor]:
        scale = torch.exp(3 * self.log_scale)
        return self.weight * scale.unsqueeze(1), self.bias * scale.flatten()


class AffineNet(nn.Module):
    """conv3×3, ActNorm, ReLU, conv1×1, ActNorm, ReLU, zero-initialised conv3×3."""

    def __init__(self, in_channels: int, channels: int, out_channels: int):
        super().__init__()
        self.first = NormConv2d(in_channels, channels, 3)
        self.second = NormConv2d(channels, channels, 1)
        self.last = ZeroConv2d(channels, out_channels)

    def forward(self, x: Tensor) -> Tensor:
        """Map `x (B,in,H,W)` to `(B,out,H,W)`."""
        if self.first.norm.waiting or self.second.norm.waiting:
            with fusing(False):
                return self._map(x)
        return self._map(x)

    @fused
    def _map(self, x: Tensor) -> Tensor:
        # Pixels outermost: convolutions then need not rearrange their inputs and results.
        x = x.contiguous(memory_format=torch.channels_last)
        h = functional.relu(self.first(x), inplace=True)
        return self.last(functional.relu(self.second(h), inplace=True))
