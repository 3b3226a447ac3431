"""What the steps of a Flow++ are made of: ActNorm, invertible 1×1 convolutions and a mixture coupling."""

from dataclasses import dataclass
from typing import Any

from marscf.flows.actnorm import ActNorm
from marscf.flows.coupling import MixLogCDFCoupling
from marscf.flows.halves import HalvesConv1x1

LEAST_VARIANCE = 1e-8  # of a position, over the first batch
NOISE = 1e-3  # on the identity that the 1×1 convolutions start from; both as in the authors' code


@dataclass(frozen=True)
class Steps:
    """What all steps of a model have in common; see the options of `FlowPP`.

    `size` is always (H, W) of the image halves that a step works on.
    """

    channels: int
    actnorm: str
    mixing: str
    positions: str
    net: dict[str, Any]  # of the couplings: components, heads, dropout, dropped, exit_elu

    def norm(self, features: int, size: tuple[int, int]) -> ActNorm:
        """Make an ActNorm of both halves together."""
        return ActNorm(features, size, LEAST_VARIANCE) if self.actnorm == "position" else ActNorm(features)

    def mix(self, features: int) -> list[HalvesConv1x1]:
        """Make the invertible 1×1 convolution on each half, or none."""
        if self.mixing == "none":
            return []
        return [HalvesConv1x1(features, NOISE if self.mixing == "identity" else None)]

    def coupling(
        self, features: int, size: tuple[int, int], kind: type[MixLogCDFCoupling] = MixLogCDFCoupling, **net
    ) -> MixLogCDFCoupling:
        """Make a coupling; `net` are further options of its network."""
        learned = size if self.positions == "learned" else None
        return kind(features, self.channels, size=learned, **self.net, **net)
