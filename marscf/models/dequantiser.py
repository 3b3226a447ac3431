"""Variational dequantisation (Flow++, arXiv 1902.00275, section 3.1): noise drawn from a learned `q(u|x)`."""

import torch
from torch import Tensor, nn
from torch.nn import functional

from marscf.errors import ConfigError
from marscf.flows.chain import Chain
from marscf.flows.checkerboard import Checkerboard
from marscf.flows.halves import SwapHalves
from marscf.models.flowpp_steps import Steps
from marscf.nets.gated_attention import GatedBlock, GatedConv, learned_positions, position_code
from marscf.nets.weight_norm import WeightNormConv2d
from marscf.options import Dequantiser, NonNegativeInt, PositiveInt, Probability
from marscf.priors.gaussian import gaussian_log_density

CONTEXT_CHANNELS = 32  # of the network that looks at the image


class ContextNet(nn.Module):
    """The network that looks at the image; the checkerboard's halves, as channels, are what q sees of it.

    Args:
        channels: of the images.
        size: (H, W) of the image halves.
        steps: what the steps of q are made of.
        stripes: whether the checkerboard is one of columns.
        kind: "full", "halves" or "attention"; see the option `context` of `FlowPP`.
        blocks: gated convolutions in it.
    """

    def __init__(
        self,
        channels: int,
        size: tuple[int, int],
        steps: Steps,
        *,
        stripes: bool,
        kind: str,
        blocks: int,
    ):
        super().__init__()
        self.checkerboard = Checkerboard(stripes)
        self.on_halves = kind != "full"
        self.out_channels = CONTEXT_CHANNELS if self.on_halves else 2 * CONTEXT_CHANNELS
        self.entry = WeightNormConv2d(2 * channels if self.on_halves else channels, CONTEXT_CHANNELS, 3)
        heads, dropout, dropped = (steps.net[name] for name in ("heads", "dropout", "dropped"))
        kernel = 3 if self.on_halves else 1

        def block() -> GatedBlock | GatedConv:
            if kind == "attention":
                return GatedBlock(CONTEXT_CHANNELS, heads, dropout, gate_kernel=kernel, dropped=dropped)
            return GatedConv(CONTEXT_CHANNELS, dropout, gate_kernel=kernel, dropped=dropped)

        self.blocks = nn.ModuleList(block() for _ in range(blocks))
        learned = kind == "attention" and steps.positions == "learned"
        self.positions = learned_positions(size, CONTEXT_CHANNELS) if learned else None

    def forward(self, y: Tensor) -> Tensor:
        """Map images `y (B,C,H,W)` to what the couplings see of them, `(B,A,H,W/2)`."""
        h: Tensor = 2 * y - 1
        if self.on_halves:
            h, _ = self.checkerboard(h)
        h = self.entry(h)
        code = position_code(self.positions, h)
        for block in self.blocks:
            h = block(h, code) if isinstance(block, GatedBlock) else h + block(h)
        return h if self.on_halves else self.checkerboard(h)[0]


class VariationalDequantiser(nn.Module):
    """`u = σ(f(ε; x))`, f a flow of checkerboard couplings that see the image through a small network.

    Args:
        shape: (C, H, W) of the images; W must be even.
        steps: what f's steps are made of.
        stripes: whether the checkerboard is one of columns.
        couplings: number of f's steps.
        blocks: gated blocks in each coupling.
        context, context_blocks: see the options of `FlowPP`.
    """

    def __init__(
        self,
        shape: tuple[int, int, int],
        steps: Steps,
        *,
        stripes: bool,
        couplings: int,
        blocks: int,
        context: str,
        context_blocks: int,
    ):
        super().__init__()
        channels, height, width = shape
        pair, size = 2 * channels, (height, width // 2)
        self.checkerboard = Checkerboard(stripes)
        self.context_net = ContextNet(
            channels, size, steps, stripes=stripes, kind=context, blocks=context_blocks
        )
        # All of these before the couplings: so a seed gives the weights that it always gave.
        mixes = [steps.mix(pair) for _ in range(couplings)]
        self.steps = Chain(
            *(
                Chain(
                    norm=steps.norm(pair, size),
                    **mix,
                    coupling=steps.coupling(pair, size, blocks, self.context_net.out_channels),
                    swap=SwapHalves(),
                )
                for mix in mixes
            )
        )

    def forward(self, y: Tensor, eps: Tensor, recompute: bool = False) -> tuple[Tensor, Tensor]:
        """Map images `y (B,C,H,W)`, in [0,1], and Gaussian noise to `u` in (0,1) and `log q(u|x)`.

        `log q (B,)` is in nats: `log N(ε) - log |∂u/∂ε|`. `recompute` saves memory, see `Chain`.
        """
        h, _ = self.checkerboard(eps)
        h, log_det = self.steps(h, self.context_net(y), recompute=recompute)
        h = self.checkerboard.inverse(h)
        log_slope = functional.logsigmoid(h) + functional.logsigmoid(-h)
        zero = eps.new_zeros(())
        log_density = gaussian_log_density(eps, zero, zero) - log_slope
        return torch.sigmoid(h), log_density.flatten(1).sum(1) - log_det


class LearnedDequantiser(VariationalDequantiser):
    """One for any flow: its keyword arguments are what the option `dequantiser` of a flow may hold.

    Args:
        shape: (C, H, W) of the images; W must be even.
        couplings: checkerboard couplings.
        blocks: gated convolution + attention blocks in each coupling's network.
        channels: hidden channels of these networks.
        components: logistics in each mixture.
        heads: of the attention; they must divide `channels`.
        dropout: in the networks, while training.
        context_blocks: gated convolutions in the network that looks at the image.

    Raises:
        ConfigError: an odd width.
    """

    def __init__(
        self,
        shape: tuple[int, int, int],
        *,
        couplings: PositiveInt = 4,
        blocks: PositiveInt = 2,
        channels: PositiveInt = 32,
        components: PositiveInt = 8,
        heads: PositiveInt = 4,
        dropout: Probability = 0.0,
        context_blocks: NonNegativeInt = 2,
    ):
        if shape[2] % 2:
            raise ConfigError(f"a dequantiser needs an even width, images are {shape[1]}×{shape[2]}")
        net = {"heads": heads, "dropout": dropout, "dropped": "channels", "exit_elu": False}
        steps = Steps(channels, components, "channel", "rotation", "sinusoidal", net)
        super().__init__(
            shape,
            steps,
            stripes=False,
            couplings=couplings,
            blocks=blocks,
            context="full",
            context_blocks=context_blocks,
        )


def learned(shape: tuple[int, int, int], options: Dequantiser) -> LearnedDequantiser | None:
    """Return the dequantiser that a flow's option `dequantiser` asks for, None for uniform noise."""
    return None if options is None else LearnedDequantiser(shape, **options)
