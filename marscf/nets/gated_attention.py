"""The gated convolution + attention network of Flow++ (Ho et al., arXiv 1902.00275, section 3.3)."""

import math
from typing import Literal

import torch
from torch import Tensor, nn
from torch.nn import functional

from marscf.errors import ConfigError
from marscf.kernels.attention import attention
from marscf.kernels.compiled import fused
from marscf.kernels.elu import concat_elu
from marscf.nets.weight_norm import WeightNormConv2d, WeightNormLinear

Dropped = Literal["channels", "values"]  # what dropout drops


def sinusoids(length: int, channels: int, device: torch.device) -> Tensor:
    """Sines then cosines of the position in raster order, `(length, channels)` (arXiv 1706.03762)."""
    scales = channels // 2
    rates = torch.exp(torch.arange(scales, device=device) * (-math.log(1e4) / max(scales - 1, 1)))
    angles = torch.arange(length, device=device, dtype=torch.float32)[:, None] * rates
    return functional.pad(torch.cat((angles.sin(), angles.cos()), dim=1), (0, channels % 2))


def position_code(learned: Tensor | None, h: Tensor) -> Tensor:
    """Return the code of the pixels' places in `h (B,C,H,W)`, `(HW,C)`: what is learned, or sines."""
    return sinusoids(h.shape[2] * h.shape[3], h.shape[1], h.device) if learned is None else learned


def learned_positions(size: tuple[int, int], channels: int) -> nn.Parameter:
    """Return a fresh code of every position of images of one size, `(HW,C)`, to be learned."""
    return nn.Parameter(0.01 * torch.randn(size[0] * size[1], channels))


class GatedConv(nn.Module):
    """concat-ELU, 3×3 convolution, concat-ELU, dropout, convolution, gate.

    The last convolution has a kernel of `gate_kernel`; `dropped` says whether dropout drops whole channels or
    single values.
    """

    def __init__(
        self,
        channels: int,
        dropout: float,
        aux_channels: int | None = None,
        gate_kernel: int = 1,
        dropped: Dropped = "channels",
    ):
        super().__init__()
        self.conv = WeightNormConv2d(2 * channels, channels, 3)
        self.aux = None if aux_channels is None else WeightNormConv2d(2 * aux_channels, channels, 1)
        self.dropout = nn.Dropout2d(dropout) if dropped == "channels" else nn.Dropout(dropout)
        self.gate = WeightNormConv2d(2 * channels, 2 * channels, gate_kernel)

    def forward(self, x: Tensor, aux: Tensor | None = None) -> Tensor:
        """Map `x (B,C,H,W)` to the same shape; `aux (B,A,H,W)` is added inside."""
        h = self.conv(concat_elu(x))
        if self.aux is not None and aux is not None:
            h = h + self.aux(concat_elu(aux))
        return functional.glu(self.gate(self.dropout(concat_elu(h))), dim=1)


class GatedAttention(nn.Module):
    """Multi-head self-attention over all pixels, then a gate. One projection gives keys, values, queries.

    Dropout drops attention weights, or, where single values are `dropped`, values of the result before the
    gate.
    """

    def __init__(self, channels: int, heads: int, dropout: float, dropped: Dropped = "channels"):
        super().__init__()
        if channels % heads:
            raise ConfigError(f"heads: {heads} attention heads do not divide channels: {channels}")
        self.heads = heads
        self.dropout = nn.Dropout(dropout if dropped == "values" else 0.0)
        self.weights_dropout = dropout if dropped == "channels" else 0.0
        self.project = WeightNormLinear(channels, 3 * channels, bias=False)
        self.gate = WeightNormLinear(channels, 2 * channels)

    def forward(self, x: Tensor, code: Tensor) -> Tensor:
        """Map `x (B,H,W,C)` to the same shape; `code (HW,C)` is added to what is projected."""
        batch, height, width, channels = x.shape
        h = x.reshape(batch, height * width, channels) + code.to(x.dtype)
        heads = self.project(h).view(batch, height * width, 3, self.heads, channels // self.heads)
        key, value, query = heads.permute(2, 0, 3, 1, 4)
        h = attention(query, key, value, self.weights_dropout if self.training else 0.0)
        h = self.dropout(h.transpose(1, 2).reshape(batch, height, width, channels))
        return functional.glu(self.gate(h), dim=-1)


class GatedBlock(nn.Module):
    """Gated convolution, then gated attention, each with a residual and layer normalisation after it."""

    def __init__(
        self,
        channels: int,
        heads: int,
        dropout: float,
        aux_channels: int | None = None,
        gate_kernel: int = 1,
        dropped: Dropped = "channels",
    ):
        super().__init__()
        self.conv = GatedConv(channels, dropout, aux_channels, gate_kernel, dropped)
        self.conv_norm = nn.LayerNorm(channels)
        self.attention = GatedAttention(channels, heads, dropout, dropped)
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

    Args:
        in_channels, channels, out_channels: of the input, of the blocks, of the output.
        blocks: number of gated convolution + attention blocks.
        heads: of the attention; raises `ConfigError` where they do not divide `channels`.
        dropout: the chance of it.
        dropped: "channels" of the gated convolutions, and attention weights; or single "values" of both.
        aux_channels: of a conditioning image that every block sees; None where there is none.
        size: (H, W) of the images, for positions that are learned; None for sines, which serve every size.
        exit_elu: whether a concat-ELU stands before the last convolution.
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
        dropped: Dropped = "channels",
        aux_channels: int | None = None,
        size: tuple[int, int] | None = None,
        exit_elu: bool = False,
    ):
        super().__init__()
        self.entry = WeightNormConv2d(in_channels, channels, 3)
        self.positions = None if size is None else learned_positions(size, channels)
        self.blocks = nn.ModuleList(
            GatedBlock(channels, heads, dropout, aux_channels, dropped=dropped) for _ in range(blocks)
        )
        self.exit_elu = exit_elu
        self.exit = WeightNormConv2d((1 + exit_elu) * channels, out_channels, 3)

    def forward(self, x: Tensor, aux: Tensor | None = None) -> Tensor:
        """Map `x (B,in,H,W)`, and `aux (B,A,H,W)`, to `(B,out,H,W)`."""
        h = self.entry(x)
        code = position_code(self.positions, h)
        for block in self.blocks:
            h = block(h, code, aux)
        if self.exit_elu:
            h = concat_elu(h)
        out: Tensor = self.exit(h)
        return out
