"""What the steps of a Flow++ are made of: ActNorm, invertible 1×1 convolutions and a mixture coupling."""

from dataclasses import dataclass
from typing import Any

from marscf.flows.actnorm import ActNorm
from marscf.flows.coupling import MixLogCDFCoupling
from marscf.flows.halves import HalvesConv1x1
from marscf.nets.gated_attention import GatedAttentionNet

LEAST_VARIANCE = 1e-8  # of a position, over the first batch
NOISE = 1e-3  # on the identity that the 1×1 convolutions start from; both as in the authors' code


@dataclass(frozen=True)
class Steps:
    """What all steps of a model have in common; see the options of `FlowPP`.

    `size` is always (H, W) of the image halves that a step works on, `features` the channels of both.
    """

    channels: int
    components: int
    actnorm: str
    mixing: str
    positions: str
    net: dict[str, Any]  # of the couplings: heads, dropout, dropped, exit_elu

    def norm(self, features: int, size: tuple[int, int]) -> ActNorm:
        """Make an ActNorm of both halves together."""
        return ActNorm(features, size, LEAST_VARIANCE) if self.actnorm == "position" else ActNorm(features)

    def mix(self, features: int) -> dict[str, HalvesConv1x1]:
        """Make the invertible 1×1 convolution on each half, as the layer "mix", or none."""
        if self.mixing == "none":
            return {}
        return {"mix": HalvesConv1x1(features, NOISE if self.mixing == "identity" else None)}

    def coupling(
        self, features: int, size: tuple[int, int], blocks: int, aux_channels: int | None = None
    ) -> MixLogCDFCoupling:
        """Make a coupling whose network has so many blocks, and sees an image of `aux_channels` besides."""
        half = features // 2
        net = GatedAttentionNet(
            half,
            self.channels,
            half * MixLogCDFCoupling.params_per_channel(self.components),
            blocks=blocks,
            aux_channels=aux_channels,
            size=size if self.positions == "learned" else None,
            **self.net,
        )
        return MixLogCDFCoupling(net, half, self.components)
