"""Masked convolutions and the gated two-stack block of PixelCNN (arXiv 1601.06759, 1606.05328).

The feature maps of the horizontal stack fall into one group per colour channel. Group `c` of a pixel sees all
earlier pixels in raster order, and of the pixel itself the channels before `c` (mask A, the first layer) or
the groups up to `c` (mask B, afterwards). The vertical stack needs no groups: its row `i` holds rows `0 …
i-1` of the image alone, so after the first layer a kernel may include its own row. No earlier pixel is left
blind.
"""

import torch
import torch.nn.functional as F
from torch import Tensor, nn


def groups_of(features: int, channels: int) -> Tensor:
    """Return the colour channel `(features,)` that each feature map belongs to, in contiguous even shares."""
    return torch.arange(features) * channels // features


class HorizontalConv(nn.Conv2d):
    """A 1×(k//2+1) convolution over the pixels to the left and the pixel itself, masked there by groups.

    Args:
        in_groups: colour channel of each input map, `(in,)`.
        out_groups: colour channel of each output map, `(out,)`.
        kernel: odd width k of the kernel before masking; 1 sees the pixel itself alone.
        strict: mask A (groups strictly before) instead of B.
    """

    mask: Tensor
    bias: Tensor  # always there

    def __init__(self, in_groups: Tensor, out_groups: Tensor, kernel: int = 1, strict: bool = False):
        super().__init__(len(in_groups), len(out_groups), (1, kernel // 2 + 1))
        before, own = in_groups[None, :], out_groups[:, None]
        mask = torch.ones_like(self.weight)
        mask[:, :, 0, -1] = (before < own if strict else before <= own).to(mask.dtype)
        self.register_buffer("mask", mask, persistent=False)
        self.left = kernel // 2

    def masked(self) -> Tensor:
        """Return the masked weight `(out,in,1,k//2+1)`."""
        return self.weight * self.mask

    def forward(self, x: Tensor) -> Tensor:
        """Convolve `(B,in,H,W)` to `(B,out,H,W)`."""
        return F.conv2d(F.pad(x, (self.left, 0)), self.masked(), self.bias)

    def rows(self, selected: list[int]) -> tuple[Tensor, Tensor]:
        """Return masked weight `(rows, in·(k//2+1))` and bias of some output maps, for one window."""
        return self.masked()[selected].flatten(1), self.bias[selected]


class VerticalConv(nn.Conv2d):
    """A convolution of full width over the k//2 rows above and, unless `strict`, the own row."""

    def __init__(self, in_features: int, out_features: int, kernel: int, strict: bool = False):
        super().__init__(in_features, out_features, (kernel // 2 + (not strict), kernel))
        self.above, self.side, self.strict = kernel // 2, kernel // 2, strict

    def forward(self, x: Tensor) -> Tensor:
        """Convolve `(B,in,H,W)` to `(B,out,H,W)`."""
        return F.conv2d(
            F.pad(x, (self.side, self.side, self.above, -int(self.strict))), self.weight, self.bias
        )

    def at_row(self, rows: Tensor) -> Tensor:
        """Convolve the k//2 rows above and the own row, `(B,in,k//2+1,W)`, to `(B,out,1,W)`."""
        rows = rows[:, :, : self.kernel_size[0]]
        return F.conv2d(rows, self.weight, self.bias, padding=(0, self.side))


def gate(x: Tensor) -> Tensor:
    """Halve the maps: `tanh(a) · sigmoid(b)` (arXiv 1606.05328, Eq. 2)."""
    a, b = x.chunk(2, dim=1)
    return torch.tanh(a) * torch.sigmoid(b)


class GatedBlock(nn.Module):
    """One layer of both stacks (arXiv 1606.05328, Fig. 2): vertical feeds horizontal, never the reverse.

    Args:
        in_groups: colour channel of each input map of the horizontal stack.
        features: feature maps of each stack.
        channels: colour channels C.
        kernel: odd width k.
        strict: the first layer: both stacks take the image, and the pixel's own channel is masked.
    """

    def __init__(self, in_groups: Tensor, features: int, channels: int, kernel: int, strict: bool = False):
        super().__init__()
        groups = groups_of(features, channels)
        self.features, self.residual = features, not strict
        self.vertical = VerticalConv(len(in_groups), 2 * features, kernel, strict)
        self.link = nn.Conv2d(2 * features, 2 * features, 1)
        self.horizontal = HorizontalConv(in_groups, groups.repeat(2), kernel, strict)
        self.out = HorizontalConv(groups, groups)

    def forward(self, v: Tensor, h: Tensor) -> tuple[Tensor, Tensor]:
        """Map both stacks, `(B,·,H,W)` each, to `(B,features,H,W)`."""
        above = self.vertical(v)
        out = self.out(gate(self.horizontal(h) + self.link(above)))
        return gate(above), h + out if self.residual else out
