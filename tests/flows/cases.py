"""Every bijection of the project, for the one loop of test_bijections.py. A new one is one line here."""

from collections.abc import Callable

import torch
from torch import nn

from marscf.flows.actnorm import ActNorm
from marscf.flows.bijection import Bijection
from marscf.flows.checkerboard import Checkerboard, UndoCheckerboard
from marscf.flows.conv1x1 import InvertibleConv1x1
from marscf.flows.coupling import AffineCoupling, MixLogCDFCoupling
from marscf.flows.halves import HalvesConv1x1, SwapHalves
from marscf.flows.identity import Identity
from marscf.flows.residual import ResidualBlock
from marscf.flows.squeeze import Squeeze
from marscf.models.multiscale_flow import FlowStep
from marscf.nets.lipschitz import FullyConnectedNet, LipschitzNet


def mixlogcdf(channels: int, **net) -> Bijection:
    return MixLogCDFCoupling(channels, 4, components=3, blocks=1, heads=2, **net)


#: name → bijection of images with so many channels (an even number), sides even
BIJECTIONS: dict[str, Callable[[int], Bijection]] = {
    "identity": lambda channels: Identity(),
    "squeeze": lambda channels: Squeeze(),
    "squeeze by pixel": lambda channels: Squeeze(by_pixel=True),
    "checkerboard": lambda channels: Checkerboard(),
    "stripes": lambda channels: Checkerboard(stripes=True),
    "undone checkerboard": lambda channels: UndoCheckerboard(),
    "undone stripes": lambda channels: UndoCheckerboard(stripes=True),
    "swapped halves": lambda channels: SwapHalves(),
    "halves' conv1x1": HalvesConv1x1,
    "halves' conv1x1 near the identity": lambda channels: HalvesConv1x1(channels, 1e-3),
    "actnorm": ActNorm,
    "conv1x1": InvertibleConv1x1,
    "affine coupling": lambda channels: AffineCoupling(channels, 4),
    "mixlogcdf coupling": mixlogcdf,
    "affine step": lambda channels: FlowStep(channels, AffineCoupling(channels, 4), swap=False),
    "mixlogcdf step": lambda channels: FlowStep(channels, mixlogcdf(channels), swap=True),
}

#: those of images of one size, name → bijection of so many channels, so high and so wide
SIZED: dict[str, Callable[[int, int, int], Bijection]] = {
    "actnorm per position": lambda channels, *size: ActNorm(channels, size),
    "mixlogcdf coupling of flow++": lambda channels, *size: mixlogcdf(channels, size=size, exit_elu=True),
    "residual block": lambda channels, *size: ResidualBlock(LipschitzNet(channels, 6, size, 0.9)),
    "fully connected residual block": lambda *shape: ResidualBlock(FullyConnectedNet(shape, 6, 0.9)),
}


def made(name: str, *shape: int, seed: int = 0) -> Bijection:
    """A bijection of images (C,H,W) in float64 and eval mode, parameters off their starting values."""
    torch.manual_seed(seed)
    bijection = SIZED[name](*shape) if name in SIZED else BIJECTIONS[name](shape[0])
    return shaken(bijection).double().eval()


def shaken(module: nn.Module, size: float = 0.3) -> nn.Module:
    with torch.no_grad():
        for parameter in module.parameters():
            parameter.add_(size * torch.randn_like(parameter))
    return module
