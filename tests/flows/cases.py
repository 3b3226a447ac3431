"""Every bijection of the project, for the one loop of test_bijections.py.

The classes are found by walking `marscf.flows`. What images each is tried on is said here, in CASES.
"""

import importlib
import inspect
import pkgutil
from collections.abc import Callable

import torch
from torch import nn

import marscf.flows
from marscf.flows.actnorm import ActNorm
from marscf.flows.autoregressive import CausalAffine
from marscf.flows.bijection import Bijection
from marscf.flows.chain import Chain
from marscf.flows.checkerboard import Checkerboard, UndoCheckerboard
from marscf.flows.conv1x1 import InvertibleConv1x1
from marscf.flows.coupling import AffineCoupling, MixLogCDFCoupling
from marscf.flows.halves import HalvesConv1x1, SwapHalves
from marscf.flows.pixels import Centre, Logit
from marscf.flows.residual import ResidualBlock
from marscf.flows.squeeze import Squeeze
from marscf.flows.step import FlowStep
from marscf.nets.affine_net import AffineNet
from marscf.nets.causal_transformer import CausalTransformer
from marscf.nets.gated_attention import GatedAttentionNet
from marscf.nets.lipschitz import FullyConnectedNet, LipschitzNet

Size = tuple[int, int]


def affine(channels: int) -> AffineCoupling:
    return AffineCoupling(AffineNet(channels // 2, 4, channels))


def mixlogcdf(channels: int, components: int = 3, **net) -> MixLogCDFCoupling:
    half = channels // 2
    params = half * MixLogCDFCoupling.params_per_channel(components)
    net = GatedAttentionNet(half, 4, params, blocks=1, heads=2, **net)
    return MixLogCDFCoupling(net, half, components)


def causal(channels: int, size: Size, backwards: bool) -> CausalAffine:
    length = size[0] * size[1]
    net = CausalTransformer(channels, 2 * channels, length, channels=8, layers=1, heads=2)
    return CausalAffine(net, backwards)


#: class → name → bijection of images with so many channels (an even number) and even sides (H, W)
CASES: dict[type[Bijection], dict[str, Callable[[int, Size], Bijection]]] = {
    ActNorm: {
        "per channel": lambda channels, size: ActNorm(channels),
        "per position": lambda channels, size: ActNorm(channels, size),
    },
    AffineCoupling: {
        "scale, then shift": lambda channels, size: affine(channels),
        "shift, then scale": lambda channels, size: AffineCoupling(
            AffineNet(channels // 2, 4, channels), shift_first=True
        ),
    },
    CausalAffine: {
        "forwards": lambda channels, size: causal(channels, size, backwards=False),
        "backwards": lambda channels, size: causal(channels, size, backwards=True),
    },
    Centre: {"": lambda channels, size: Centre()},
    Chain: {
        "empty": lambda channels, size: Chain(),
        "of two": lambda channels, size: Chain(InvertibleConv1x1(channels), last=ActNorm(channels)),
        "of chains": lambda channels, size: Chain(
            Checkerboard(), FlowStep(2 * channels, affine(2 * channels)), UndoCheckerboard()
        ),
    },
    Checkerboard: {
        "squares": lambda channels, size: Checkerboard(),
        "stripes": lambda channels, size: Checkerboard(stripes=True),
    },
    FlowStep: {
        "affine": lambda channels, size: FlowStep(channels, affine(channels)),
        "mixlogcdf": lambda channels, size: FlowStep(channels, mixlogcdf(channels), swap=True),
    },
    HalvesConv1x1: {
        "rotation": lambda channels, size: HalvesConv1x1(channels),
        "near the identity": lambda channels, size: HalvesConv1x1(channels, 1e-3),
    },
    InvertibleConv1x1: {"": lambda channels, size: InvertibleConv1x1(channels)},
    Logit: {"": lambda channels, size: Logit(0.05)},
    MixLogCDFCoupling: {
        "": lambda channels, size: mixlogcdf(channels),
        "of flow++": lambda channels, size: mixlogcdf(channels, size=size, exit_elu=True),
    },
    ResidualBlock: {
        "convolutions": lambda channels, size: ResidualBlock(LipschitzNet(channels, 6, size, 0.9)),
        "fully connected": lambda channels, size: ResidualBlock(FullyConnectedNet((channels, *size), 6, 0.9)),
    },
    Squeeze: {
        "by channel": lambda channels, size: Squeeze(),
        "by pixel": lambda channels, size: Squeeze(by_pixel=True),
    },
    SwapHalves: {"": lambda channels, size: SwapHalves()},
    UndoCheckerboard: {
        "squares": lambda channels, size: UndoCheckerboard(),
        "stripes": lambda channels, size: UndoCheckerboard(stripes=True),
    },
}


def found() -> list[type[Bijection]]:
    """Every class in `marscf.flows` that is a bijection and can be made."""
    names = [module.name for module in pkgutil.iter_modules(marscf.flows.__path__, "marscf.flows.")]
    members = [kind for name in names for kind in vars(importlib.import_module(name)).values()]
    kinds = {kind for kind in members if inspect.isclass(kind) and issubclass(kind, Bijection)}
    return sorted((kind for kind in kinds if not inspect.isabstract(kind)), key=lambda kind: kind.__name__)


#: name → class, and the name of its case; a class without a case has one that fails
BIJECTIONS: dict[str, tuple[type[Bijection], str]] = {
    f"{kind.__name__} {case}".strip(): (kind, case)
    for kind in found()
    for case in CASES.get(kind, {"": None})
}


def made(name: str, *shape: int, seed: int = 0) -> Bijection:
    """A bijection of images (C,H,W) in float64 and eval mode, parameters off their starting values."""
    kind, case = BIJECTIONS[name]
    assert kind in CASES, f"{kind.__module__}.{kind.__name__} has no case: add one to CASES in {__file__}"
    torch.manual_seed(seed)
    bijection = CASES[kind][case](shape[0], shape[1:])
    assert type(bijection) is kind
    return shaken(bijection).double().eval()


def shaken(module: nn.Module, size: float = 0.3) -> nn.Module:
    with torch.no_grad():
        for parameter in module.parameters():
            parameter.add_(size * torch.randn_like(parameter))
    return module
