"""Variational dequantisation (Flow++, arXiv 1902.00275, section 3.1): noise drawn from a learned `q(u|x)`."""

from itertools import zip_longest

import torch
from torch import Tensor, nn
from torch.nn import functional

from marscf.flows.checkerboard import Checkerboard
from marscf.flows.coupling import MixLogCDFCoupling
from marscf.flows.halves import SwapHalves
from marscf.kernels.precision import exact
from marscf.models.flowpp_steps import Steps
from marscf.nets.gated_attention import GatedBlock, GatedConv, learned_positions, place_code
from marscf.nets.weight_norm import WeightNormConv2d
from marscf.priors.gaussian import gaussian_log_density

CONTEXT_CHANNELS = 32  # of the network that looks at the image


class ContextCoupling(MixLogCDFCoupling):
    """A mixture coupling whose network also sees a context `(B,aux_channels,H,W)`; used forwards alone."""

    def forward(self, x: Tensor, context: Tensor) -> tuple[Tensor, Tensor]:
        """See `Bijection.forward`."""
        moved, still = self._split(x)
        raw = self.net(still, context)
        with exact(x):
            moved, log_slope = self.elementwise(moved, raw.to(x.dtype))
            return self._join(moved, still), log_slope.flatten(1).sum(1)


class VariationalDequantiser(nn.Module):
    """`u = σ(f(ε; x))` with f a flow of checkerboard couplings that see the image through a small network.

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
        self.on_halves = context != "full"
        self.entry = WeightNormConv2d(pair if self.on_halves else channels, CONTEXT_CHANNELS, 3)
        heads, dropout, dropped = (steps.net[name] for name in ("heads", "dropout", "dropped"))
        kernel = 3 if self.on_halves else 1

        def block() -> GatedBlock | GatedConv:
            if context == "attention":
                return GatedBlock(CONTEXT_CHANNELS, heads, dropout, gate_kernel=kernel, dropped=dropped)
            return GatedConv(CONTEXT_CHANNELS, dropout, gate_kernel=kernel, dropped=dropped)

        self.look = nn.ModuleList(block() for _ in range(context_blocks))
        learned = context == "attention" and steps.positions == "learned"
        self.positions = learned_positions(size, CONTEXT_CHANNELS) if learned else None
        self.checkerboard = Checkerboard(stripes)
        self.norms = nn.ModuleList(steps.norm(pair, size) for _ in range(couplings))
        self.mixes = nn.ModuleList(mix for _ in range(couplings) for mix in steps.mix(pair))
        aux_channels = CONTEXT_CHANNELS if self.on_halves else 2 * CONTEXT_CHANNELS
        self.couplings = nn.ModuleList(
            steps.coupling(pair, size, ContextCoupling, blocks=blocks, aux_channels=aux_channels)
            for _ in range(couplings)
        )
        self.swap = SwapHalves()

    def context(self, y: Tensor) -> Tensor:
        """Map images `y (B,C,H,W)` to what the couplings see of them, `(B,A,H,W/2)`."""
        h = self.checkerboard(2 * y)[0] if self.on_halves else 2 * y
        h = self.entry(h)
        code = place_code(self.positions, h)
        for block in self.look:
            h = block(h, code) if isinstance(block, GatedBlock) else h + block(h)
        return h if self.on_halves else self.checkerboard(h)[0]

    def forward(self, y: Tensor, eps: Tensor) -> tuple[Tensor, Tensor]:
        """Map images `y (B,C,H,W)`, about in [-1/2,1/2], and Gaussian noise to `u` in (0,1) and `log q(u|x)`.

        `log q (B,)` is in nats: `log N(ε) - log |∂u/∂ε|`.
        """
        context = self.context(y)
        zero = eps.new_zeros(())
        log_q = gaussian_log_density(eps, zero, zero).flatten(1).sum(1)
        h = self.checkerboard(eps)[0]
        for norm, mix, coupling in zip_longest(self.norms, self.mixes, self.couplings):
            h, by_norm = norm(h)
            log_q = log_q - by_norm
            if mix is not None:
                h, by_mix = mix(h)
                log_q = log_q - by_mix
            h, by_coupling = coupling(h, context)
            log_q = log_q - by_coupling
            h = self.swap.inverse(h)
        h = self.checkerboard.inverse(h)
        log_slope = functional.logsigmoid(h) + functional.logsigmoid(-h)
        return torch.sigmoid(h), log_q - log_slope.flatten(1).sum(1)
