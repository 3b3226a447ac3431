"""Gated PixelCNN: an exact autoregressive model of discrete images (arXiv 1601.06759, 1606.05328)."""

import torch
import torch.nn.functional as F
from torch import Tensor

from marscf.counting import tick
from marscf.errors import ConfigError
from marscf.kernels.categorical import categorical
from marscf.models.base import DensityModel, Estimate, Shape, check_images
from marscf.nets.categorical import draw
from marscf.nets.masked import GatedBlock, HorizontalConv, gate, groups_of
from marscf.nets.modules import Modules
from marscf.nets.recompute import run
from marscf.options import PositiveInt


class PixelCNN(DensityModel):
    """`P(x) = Π P(x_d | x_<d)` over sub-pixels in raster order, channels in order within a pixel.

    Gated vertical and horizontal stacks without blind spot; a softmax over the grey levels at every
    sub-pixel. The likelihood is exact and takes one pass; sampling takes one step per sub-pixel.

    Args:
        shape: (C, H, W) of the images.
        grey_levels: number of values of a sub-pixel.
        channels: feature maps of each stack, at least C; every colour channel has an equal share.
        blocks: gated layers, the first one (mask A) counted.
        first_kernel: odd width of the first layer's kernel, at least 3.
        kernel: odd width of the others' kernels.
        head_channels: feature maps between the last block and the softmax.
    """

    can_recompute = True
    replayable = True  # its likelihood; the sampler's kernels are far too many

    def __init__(
        self,
        shape: Shape,
        grey_levels: int,
        *,
        channels: PositiveInt = 384,
        blocks: PositiveInt = 20,
        first_kernel: PositiveInt = 7,
        kernel: PositiveInt = 5,
        head_channels: PositiveInt = 1024,
    ):
        super().__init__(shape, grey_levels)
        colours = self.shape[0]
        for name, value, least in (("first_kernel", first_kernel, 3), ("kernel", kernel, 1)):
            if value % 2 == 0 or value < least:
                raise ConfigError(f"options.{name}: {value} is no odd width of at least {least}")
        for name, value in (("channels", channels), ("head_channels", head_channels)):
            if value < colours:
                raise ConfigError(f"options.{name}: {value} maps for {colours} colour channels; take more")
        groups = groups_of(channels, colours)
        self.blocks = Modules[GatedBlock](
            [GatedBlock(torch.arange(colours), channels, colours, first_kernel, strict=True)]
            + [GatedBlock(groups, channels, colours, kernel) for _ in range(blocks - 1)]
        )
        head_groups = groups_of(head_channels, colours)
        self.hidden = HorizontalConv(groups, head_groups)
        self.head = HorizontalConv(head_groups, torch.arange(colours).repeat_interleave(grey_levels))

    @property
    def likelihood(self) -> str:
        """See `DensityModel.likelihood`."""
        return "exact, no dequantisation"

    def scaled(self, x: Tensor) -> Tensor:
        """Map grey levels to [-1,1], in the weights' precision."""
        return x.to(self.head.weight.dtype) * (2 / (self.grey_levels - 1)) - 1

    def features(self, x: Tensor) -> Tensor:
        """Return what the head sees, `(B,head_channels,H,W)`, of every pixel given the earlier ones."""
        v = h = self.scaled(x)
        for block in self.blocks:
            v, h = run(block, v, h, recompute=self.activation_checkpointing)
        return F.relu(self.hidden(F.relu(h)))

    def logits(self, x: Tensor) -> Tensor:
        """Return the logits `(B,C,H,W,grey_levels)` of every sub-pixel given the earlier ones."""
        return self.head(self.features(x)).unflatten(1, (self.shape[0], self.grey_levels)).movedim(2, -1)

    def log_prob(self, x: Tensor, noise: Tensor | None = None, estimate: Estimate | None = None) -> Tensor:
        """See `DensityModel.log_prob`; no noise is needed."""
        check_images(x, self.shape)
        return categorical(self.features(x), self.head.masked()[:, :, 0, 0], self.head.bias, x)

    @torch.no_grad()
    def sample(self, n: int, temperature: float = 1.0, generator: torch.Generator | None = None) -> Tensor:
        """See `DensityModel.sample`; `temperature` divides the logits."""
        device = generator.device if generator is not None else "cpu"
        uniform = torch.rand(n, *self.shape, generator=generator, device=device).to(self.device)
        return self.sample_from(uniform, temperature)

    @torch.no_grad()
    def sample_from(self, uniform: Tensor, temperature: float = 1.0) -> Tensor:
        """Map uniform noise `(n,C,H,W)` to images, one sub-pixel after the other.

        What a pixel needs of the rows above is computed once per row, and what it needs of the pixels to the
        left is kept. A sub-pixel then costs matrix products with its own group's share of the weights alone.
        """
        colours, height, width = self.shape
        x = torch.zeros(uniform.shape, dtype=torch.uint8, device=uniform.device)
        caches = _Caches(self, len(uniform))
        for i in range(height):
            caches.start_row(i)
            for j in range(width):
                for c in range(colours):
                    logits = caches.logits(j, c) / temperature
                    level = draw(logits, uniform[:, c, i, j, None])[:, 0]
                    x[:, c, i, j] = level
                    caches.store(i, j, c, self.scaled(level))
                    tick()
        return x


class _Caches:
    """What the sampler keeps: the vertical stack's rows, the horizontal stack's row and the pixel's own maps.

    `above[b] (n,in,k//2+H,W)` is the vertical stack's input to block b and `row[b] (n,in,k//2+W)` the
    horizontal stack's, both with zeros where the image has ended; `below[b] (n,2,features,W)` is what the
    vertical stack hands down in the current row, `inner[b] (n,features)` the gated maps of the current pixel,
    `hidden` the head's.
    """

    def __init__(self, model: PixelCNN, n: int):
        colours, height, width = model.shape
        empty = model.head.weight.new_zeros
        self.blocks = list(model.blocks)
        self.left = [block.horizontal.left for block in self.blocks] + [0]
        inputs = [block.horizontal.in_channels for block in self.blocks] + [self.blocks[-1].features]
        sizes = list(zip(inputs, self.left, strict=True))
        self.above = [empty(n, features, k + height, width) for features, k in sizes]
        self.row = [empty(n, features, k + width) for features, k in sizes]
        self.inner = [empty(n, block.features) for block in self.blocks]
        self.hidden = empty(n, model.hidden.out_channels)
        self.below: list[Tensor] = []
        self.shares = [_Share(model, c) for c in range(colours)]

    def start_row(self, i: int) -> None:
        """Run the vertical stack over row `i`, all rows above being complete."""
        self.below = []
        for b, block in enumerate(self.blocks):
            above = block.vertical.at_row(self.above[b][:, :, i : i + self.left[b] + 1])
            self.below.append(block.link(above)[:, :, 0].unflatten(1, (2, -1)))
            self.above[b + 1][:, :, self.left[b + 1] + i] = gate(above)[:, :, 0]
        for row in self.row:
            row.zero_()

    def logits(self, j: int, c: int) -> Tensor:
        """Run group `c` of the horizontal stack at column `j`; returns logits `(n,grey_levels)`."""
        share = self.shares[c]
        for b, block in enumerate(self.blocks):
            window = self.row[b][:, :, j : j + self.left[b] + 1]
            gated = F.linear(window.flatten(1), *share.horizontal[b])
            gated = gated.view(len(gated), 2, -1) + self.below[b][:, :, share.maps, j]
            self.inner[b][:, share.maps] = gate(gated)[:, 0]
            out = F.linear(self.inner[b], *share.out[b])
            if block.residual:
                out = out + window[:, share.maps, -1]
            self.row[b + 1][:, share.maps, self.left[b + 1] + j] = out
        self.hidden[:, share.hidden_maps] = F.relu(F.linear(F.relu(self.row[-1][:, :, j]), *share.hidden))
        return F.linear(self.hidden, *share.head)

    def store(self, i: int, j: int, c: int, level: Tensor) -> None:
        """Hand a drawn sub-pixel `(n,)` to the first layer of both stacks."""
        self.above[0][:, c, self.left[0] + i, j] = level
        self.row[0][:, c, self.left[0] + j] = level


class _Share:
    """The rows of all horizontal weights that belong to one colour channel's group, masked once."""

    def __init__(self, model: PixelCNN, c: int):
        colours, levels = model.shape[0], model.grey_levels
        features = model.blocks[0].features
        self.maps = _members(features, colours, c)
        self.hidden_maps = _members(model.hidden.out_channels, colours, c)
        maps = list(range(features))[self.maps]
        pair = maps + [features + m for m in maps]
        self.horizontal = [block.horizontal.rows(pair) for block in model.blocks]
        self.out = [block.out.rows(maps) for block in model.blocks]
        self.hidden = model.hidden.rows(list(range(model.hidden.out_channels))[self.hidden_maps])
        self.head = model.head.rows(list(range(c * levels, (c + 1) * levels)))


def _members(features: int, colours: int, c: int) -> slice:
    """The feature maps of a colour channel, which stand beside each other."""
    members = (groups_of(features, colours) == c).nonzero().flatten().tolist()
    return slice(members[0], members[-1] + 1)
