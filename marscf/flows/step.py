"""The step of flow."""

from marscf.flows.actnorm import ActNorm
from marscf.flows.chain import Chain
from marscf.flows.conv1x1 import InvertibleConv1x1
from marscf.flows.coupling import Coupling
from marscf.flows.halves import SwapHalves


class FlowStep(Chain):
    """ActNorm, invertible 1×1 convolution, coupling (Kingma and Dhariwal, arXiv 1807.03039, section 3).

    With `swap` the halves then change places, so that the next coupling transforms the other one.
    """

    def __init__(self, channels: int, coupling: Coupling, swap: bool = False):
        layers = {"actnorm": ActNorm(channels), "conv1x1": InvertibleConv1x1(channels), "coupling": coupling}
        super().__init__(**layers, **({"swap": SwapHalves()} if swap else {}))
