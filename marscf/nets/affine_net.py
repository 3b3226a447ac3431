"""The network of Glow's affine coupling."""

import functools
from collections.abc import Callable

import torch
from torch import Tensor, nn
from torch.nn import functional

from marscf.gpu.fused import fused, fusing
from marscf.nets.cached import Cached, Caching
from marscf.nets.channel_norm import ChannelNorm


class FoldedConv2d(Caching):
    """A convolution that keeps the image's size, with a kernel and a bias that `fold` makes of parameters."""

    def __init__(self, padding: int):
        super().__init__()
        self.padding = padding
        self._place = ([padding] * 2, [1, 1], [1, 1], 1)  # padding, stride, dilation, groups
        self._folded = Cached()

    def sources(self) -> list[Tensor]:
        """The tensors that kernel and bias are made of."""
        raise NotImplementedError

    def fold(self) -> tuple[Tensor, Tensor]:
        """Return the kernel `(out,in,k,k)` and the bias `(out,)`."""
        raise NotImplementedError

    def forward(self, x: Tensor, relu: bool = False) -> Tensor:
        """Map `x (B,in,H,W)` to `(B,out,H,W)`, with a ReLU after it where it is asked for."""
        if _packs(x):
            kernel, bias = self._folded.get(self.sources(), lambda: self._packed(x.shape), x.shape)
            after = "relu" if relu else "none"
            return pointwise_convolution()(x, kernel, bias, *self._place, after, [], "")
        y = functional.conv2d(x, *self._folded.get(self.sources(), self.fold), padding=self.padding)
        return functional.relu(y, inplace=True) if relu else y

    def _packed(self, shape: torch.Size) -> tuple[Tensor, Tensor]:
        kernel, bias = self.fold()
        packed = torch._C._nn.mkldnn_reorder_conv2d_weight(kernel.to_mkldnn(), *self._place, list(shape))
        return packed, bias


def _packs(x: Tensor) -> bool:
    """Whether oneDNN's convolution is called by name, as compiled code of torch does.

    Without gradients on a CPU: torch's own would rearrange the kernel at every call, and leave the ReLU for a
    second walk through the result.
    """
    return (
        not torch.compiler.is_compiling()
        and x.device.type == "cpu"
        and x.dtype == torch.float32
        and len(x) > 0
        and not torch.is_grad_enabled()
        and not torch.is_autocast_enabled("cpu")
        and pointwise_convolution() is not None
    )


@functools.cache
def pointwise_convolution() -> Callable[..., Tensor] | None:
    """oneDNN's convolution and what follows for each element; None where torch was built without it."""
    return getattr(torch.ops.mkldnn, "_convolution_pointwise", None)


class NormConv2d(FoldedConv2d):
    """A convolution without bias, then ActNorm; the two are one convolution once initialised."""

    def __init__(self, in_channels: int, out_channels: int, kernel_size: int):
        super().__init__(padding=kernel_size // 2)
        self.weight = nn.Parameter(0.05 * torch.randn(out_channels, in_channels, kernel_size, kernel_size))
        self.norm = ChannelNorm(out_channels)

    def forward(self, x: Tensor, relu: bool = False) -> Tensor:
        """See `FoldedConv2d.forward`."""
        if not torch.compiler.is_compiling() and self.norm.waiting:
            with torch.no_grad():
                self.norm.initialise(functional.conv2d(x, self.weight, padding=self.padding))
        return super().forward(x, relu)

    def sources(self) -> list[Tensor]:
        """See `FoldedConv2d.sources`."""
        return [self.weight, self.norm.bias, self.norm.log_scale]

    def fold(self) -> tuple[Tensor, Tensor]:
        """See `FoldedConv2d.fold`."""
        scale = torch.exp(self.norm.log_scale)
        return self.weight * scale.unsqueeze(1), (self.norm.bias * scale).flatten()


class ZeroConv2d(FoldedConv2d):
    """A 3×3 convolution that starts at zero, its output scaled by `exp(3 log_scale)` a channel (Glow)."""

    def __init__(self, in_channels: int, out_channels: int):
        super().__init__(padding=1)
        self.weight = nn.Parameter(torch.zeros(out_channels, in_channels, 3, 3))
        self.bias = nn.Parameter(torch.zeros(out_channels))
        self.log_scale = nn.Parameter(torch.zeros(out_channels, 1, 1))

    def sources(self) -> list[Tensor]:
        """See `FoldedConv2d.sources`."""
        return [self.weight, self.bias, self.log_scale]

    def fold(self) -> tuple[Tensor, Tensor]:
        """See `FoldedConv2d.fold`."""
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
        if self.first.norm.waiting or self.second.norm.waiting or _packs(x):
            with fusing(False):
                return self._map(x)
        return self._map(x)

    @fused
    def _map(self, x: Tensor) -> Tensor:
        # Pixels outermost: convolutions then need not rearrange their inputs and results.
        x = x.contiguous(memory_format=torch.channels_last)
        return self.last(self.second(self.first(x, relu=True), relu=True))
