"""The gated convolution + attention network of Flow++ (Ho et al., arXiv 1902.00275, section 3.3)."""

import functools
import math

import torch
from torch import Tensor, nn
from torch.autograd.function import once_differentiable
from torch.nn import functional

from marscf.errors import ConfigError
from marscf.gpu.fused import fused
from marscf.nets.attention import attention
from marscf.nets.weight_norm import WeightNormConv2d, WeightNormLinear


def concat_elu(x: Tensor) -> Tensor:
    """`elu([x, -x])` along the channels (Shang et al., arXiv 1603.05201)."""
    return _ConcatELU.apply(x)


class _ConcatELU(torch.autograd.Function):
    """`elu(x) = relu(x) + exp(-relu(-x)) - 1`: torch's own goes by `expm1`, ten times dearer on a CPU.

    Keeps the result alone, which the convolution after it keeps anyway.
    """

    @staticmethod
    def forward(ctx, x):
        positive = functional.relu(x)
        negative = positive - x
        pairs = ((negative, positive), (positive, negative))
        result = torch.cat([a.neg().exp_().sub_(1).add_(b) for a, b in pairs], 1)
        ctx.save_for_backward(result)
        return result

    @staticmethod
    @once_differentiable
    def backward(ctx, grad):
        (result,) = ctx.saved_tensors
        # The slope is 1 right of zero and elu(x) + 1 left of it.
        first, second = torch.addcmul(grad, grad, result - functional.relu(result)).chunk(2, 1)
        return first - second


@functools.cache
def position_code(length: int, channels: int, device: torch.device) -> Tensor:
    """Sines then cosines of the position in raster order, `(length, channels)` (arXiv 1706.03762)."""
    scales = channels // 2
    with torch.inference_mode(False):
        rates = torch.exp(torch.arange(scales, device=device) * (-math.log(1e4) / max(scales - 1, 1)))
        angles = torch.arange(length, device=device, dtype=torch.float32)[:, None] * rates
        return functional.pad(torch.cat((angles.sin(), angles.cos()), dim=1), (0, channels % 2))


class GatedConv(nn.Module):
    """concat-ELU, 3×3 convolution, concat-ELU, dropout of channels, 1×1 convolution, gate."""

    def __init__(self, channels: int, dropout: float, aux_channels: int | None = None):
        super().__init__()
        self.conv = WeightNormConv2d(2 * channels, channels, 3)
        self.aux = None if aux_channels is None else WeightNormConv2d(2 * aux_channels, channels, 1)
        self.dropout = nn.Dropout2d(dropout)
        self.gate = WeightNormConv2d(2 * channels, 2 * channels, 1)

    def forward(self, x: Tensor, aux: Tensor | None = None) -> Tensor:
        """Map `x (B,C,H,W)` to the same shape; `aux (B,A,H,W)` is added inside."""
        h = self.conv(concat_elu(x))
        if self.aux is not None:
            h = h + self.aux(concat_elu(aux))
        return functional.glu(self.gate(self.dropout(concat_elu(h))), dim=1)


class GatedAttention(nn.Module):
    """Multi-head self-attention over all pixels, then a gate. One projection gives keys, values, queries."""

    def __init__(self, channels: int, heads: int, dropout: float):
        super().__init__()
        self.heads = heads
        self.dropout = dropout
        self.project = WeightNormLinear(channels, 3 * channels, bias=False)
        self.gate = WeightNormLinear(channels, 2 * channels)

    def forward(self, x: Tensor, code: Tensor) -> Tensor:
        """Map `x (B,H,W,C)` to the same shape; `code (HW,C)` is added to what is projected."""
        batch, height, width, channels = x.shape
        h = x.reshape(batch, height * width, channels) + code.to(x.dtype)
        heads = self.project(h).view(batch, height * width, 3, self.heads, channels // self.heads)
        key, value, query = heads.permute(2, 0, 3, 1, 4)
        h = attention(query, key, value, self.dropout if self.training else 0.0)
        h = h.transpose(1, 2).reshape(batch, height, width, channels)
        return functional.glu(self.gate(h), dim=-1)


class GatedBlock(nn.Module):
    """Gated convolution, then gated attention, each with a residual and layer normalisation after it."""

    def __init__(self, channels: int, heads: int, dropout: float, aux_channels: int | None = None):
        super().__init__()
        self.conv = GatedConv(channels, dropout, aux_channels)
        self.conv_norm = nn.LayerNorm(channels)
        self.attention = GatedAttention(channels, heads, dropout)
        self.attention_norm = nn.LayerNorm(channels)

    @fused
    def forward(self, x: Tensor, code: Tensor, aux: Tensor | None = None) -> Tensor:
        """Map `x (B,C,H,W)` to the same shape; `code (HW,C)` tells the attention where a pixel is."""
        x = (self.conv(x, aux) + x).permute(0, 2, 3, 1)
        x = self.conv_norm(x)
        x = self.attention_norm(self.attention(x, code) + x)
        return x.permute(0, 3, 1, 2)


class GatedAttentionNet(nn.Module):
    """3×3 convolution, `blocks` gated blocks, 3×3 convolution; all weight-normalised.

    Arguments:
        in_channels, channels, out_channels: of the input, of the blocks, of the output.
        blocks: number of gated convolution + attention blocks.
        heads: of the attention; raises `ConfigError` where they do not divide `channels`.
        dropout: of channels in the gated convolutions and of attention weights.
        aux_channels: of a conditioning image that every block sees; None where there is none.
    """

    def __init__(
        self,
        in_channels: int,
        channels: int,
        out_channels: int,
        *,
        blocks: int,
        heads: int = 4,
        dropout: float = 0.0,
        aux_channels: int | None = None,
    ):
        super().__init__()
        if channels % heads:
            raise ConfigError(f"heads: {heads} attention heads do not divide channels: {channels}")
        self.entry = WeightNormConv2d(in_channels, channels, 3)
        self.blocks = nn.ModuleList(GatedBlock(channels, heads, dropout, aux_channels) for _ in range(blocks))
        self.exit = WeightNormConv2d(channels, out_channels, 3)

    def forward(self, x: Tensor, aux: Tensor | None = None) -> Tensor:
        """Map `x (B,in,H,W)`, and `aux (B,A,H,W)`, to `(B,out,H,W)`."""
        h = self.entry(x)
        code = position_code(h.shape[2] * h.shape[3], h.shape[1], h.device)
        for block in self.blocks:
            h = block(h, code, aux)
        # With channels innermost, as h is by now, a CPU would rearrange this large weight and its gradient.
        return self.exit(h if h.is_cuda else h.contiguous())
