"""Variational dequantisation (Flow++, arXiv 1902.00275, section 3.1): noise drawn from a learned `q(u|x)`."""

import torch
from torch import Tensor, nn
from torch.nn import functional

from marscf.flows.actnorm import ActNorm
from marscf.flows.checkerboard import Checkerboard
from marscf.flows.coupling import Coupling, MixLogCDFCoupling
from marscf.flows.halves import HalvesConv1x1, SwapHalves
from marscf.nets.gated_attention import GatedAttentionNet, GatedConv
from marscf.nets.precision import exact
from marscf.nets.weight_norm import WeightNormConv2d
from marscf.priors.gaussian import gaussian_log_density

CONTEXT_CHANNELS = 32  # of what the couplings see of the image


class ContextCoupling(MixLogCDFCoupling):
    """A mixture coupling whose network also sees a context `(B,aux_channels,H,W)`; used forwards alone."""

    def __init__(self, channels: int, hidden: int, aux_channels: int, *, components: int, **net):
        half = channels // 2
        Coupling.__init__(
            self,
            GatedAttentionNet(
                channels - half, hidden, half * (2 + 3 * components), aux_channels=aux_channels, **net
            ),
        )
        self.components = components
        self.rescale = nn.Parameter(torch.ones(half, 1, 1))

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
        image_channels: C of the image; its width must be even.
        couplings: number of checkerboard couplings.
        channels: hidden channels of their networks.
        blocks: gated blocks in each of them and in the network that looks at the image.
        components, heads, dropout: of the couplings.
    """

    def __init__(
        self,
        image_channels: int,
        *,
        couplings: int,
        channels: int,
        blocks: int,
        components: int,
        heads: int,
        dropout: float,
    ):
        super().__init__()
        self.entry = WeightNormConv2d(image_channels, CONTEXT_CHANNELS, 3)
        self.look = nn.ModuleList(GatedConv(CONTEXT_CHANNELS, dropout) for _ in range(blocks))
        self.checkerboard = Checkerboard()
        pair = 2 * image_channels
        self.norms = nn.ModuleList(ActNorm(pair) for _ in range(couplings))
        self.mixes = nn.ModuleList(HalvesConv1x1(pair) for _ in range(couplings))
        self.couplings = nn.ModuleList(
            ContextCoupling(
                pair,
                channels,
                2 * CONTEXT_CHANNELS,
                blocks=blocks,
                components=components,
                heads=heads,
                dropout=dropout,
            )
            for _ in range(couplings)
        )
        self.swap = SwapHalves()

    def forward(self, y: Tensor, eps: Tensor) -> tuple[Tensor, Tensor]:
        """Map images `y (B,C,H,W)`, about in [-1/2,1/2], and Gaussian noise to `u` in (0,1) and `log q(u|x)`.

        `log q (B,)` is in nats: `log N(ε) - log |∂u/∂ε|`.
        """
        context = self.entry(2 * y)
        for layer in self.look:
            context = context + layer(context)
        context = self.checkerboard(context)[0]
        zero = eps.new_zeros(())
        log_q = gaussian_log_density(eps, zero, zero).flatten(1).sum(1)
        h = self.checkerboard(eps)[0]
        for norm, mix, coupling in zip(self.norms, self.mixes, self.couplings, strict=True):
            h, by_norm = norm(h)
            h, by_mix = mix(h)
            h, by_coupling = coupling(h, context)
            h = self.swap.inverse(h)
            log_q = log_q - (by_norm + by_mix + by_coupling)
        h = self.checkerboard.inverse(h)
        log_slope = functional.logsigmoid(h) + functional.logsigmoid(-h)
        return torch.sigmoid(h), log_q - log_slope.flatten(1).sum(1)
