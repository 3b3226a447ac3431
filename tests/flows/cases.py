"""Every bijection of the project, for the one loop of test_bijections.py. A new one is one line here."""

from collections.abc import Callable

import torch
from torch import nn

from marscf.flows.actnorm import ActNorm
from marscf.flows.bijection import Bijection
from marscf.flows.conv1x1 import InvertibleConv1x1
from marscf.flows.coupling import AffineCoupling, MixLogCDFCoupling
from marscf.flows.identity import Identity
from marscf.flows.squeeze import Squeeze
from marscf.models.multiscale_flow import FlowStep


def mixlogcdf(channels: int) -> Bijection:
    return MixLogCDFCoupling(channels, 4, components=3, blocks=1, heads=2)


#: name → bijection of images with so many channels (an even number), sides even
BIJECTIONS: dict[str, Callable[[int], Bijection]] = {
    "identity": lambda channels: Identity(),
    "squeeze": lambda channels: Squeeze(),
    "actnorm": ActNorm,
    "conv1x1": InvertibleConv1x1,
    "affine coupling": lambda channels: AffineCoupling(channels, 4),
    "mixlogcdf coupling": mixlogcdf,
    "affine step": lambda channels: FlowStep(channels, AffineCoupling(channels, 4), swap=False),
    "mixlogcdf step": lambda channels: FlowStep(channels, mixlogcdf(channels), swap=True),
}


def made(name: str, channels: int, seed: int = 0) -> Bijection:
    """One of BIJECTIONS in float64 and eval mode, its parameters off their special starting values."""
    torch.manual_seed(seed)
    return shaken(BIJECTIONS[name](channels)).double().eval()


def shaken(module: nn.Module, size: float = 0.3) -> nn.Module:
    with torch.no_grad():
        for parameter in module.parameters():
            parameter.add_(size * torch.randn_like(parameter))
    return module
