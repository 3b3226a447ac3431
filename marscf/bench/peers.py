"""Other public codes of the baselines, from checkouts of them: equal architecture and work, in one process.

Nothing of them is in this repository: `git clone` one, and give its folder to `marscf bench --peer`.
"""

import importlib
import math
import shutil
import sys
import tempfile
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional

from marscf.errors import ConfigError
from marscf.flows.residual import TOLERANCES
from marscf.models.base import Shape

Options = Mapping[str, Any]


class PeerModel(nn.Module):
    """A model of another code: what a training step minimises, and samples where it can draw them."""

    def nats(self, x: Tensor) -> Tensor:
        """Return the negative log-likelihood of images `x (B,C,H,W) uint8`, summed over the batch."""
        raise NotImplementedError

    def before_step(self) -> None:
        """Do what their trainer does before a step."""

    def draw(self, n: int) -> Tensor:
        """Draw `n` images."""
        raise NotImplementedError


@dataclass(frozen=True)
class Peer:
    """A code: where it is public, a file that tells it, what it has no choice of, and how it is built."""

    repository: str
    file: str
    build: Callable[[Options, Shape], PeerModel]
    fixed: Options = field(default_factory=dict)  # options of ours that have to be as theirs are
    draws: bool = True
    replaced: Mapping[str, tuple[str, str]] = field(default_factory=dict)  # by file: old, or other work


def load(system: str, code: Path, options: Options, shape: Shape, device: torch.device) -> PeerModel:
    """Build the other code's model of a system with our `options`, set by a batch of noise images.

    Raises `ConfigError` where the system has no peer, or the folder is no checkout of one.
    """
    peer = _peer(system, code)
    if peer is None:
        known = ", ".join(one.repository for one in PEERS.get(system, [])) or "none"
        raise ConfigError(f"--peer {code}: no code for {system} that is known here ({known})")
    torch.manual_seed(0)
    with _importing(code, peer.replaced):
        model = peer.build(options, shape).to(device)
        model.train()
        with torch.no_grad():
            model.nats(torch.randint(0, 256, (16, *shape), dtype=torch.uint8, device=device))
    return model


def fixed_options(system: str, code: Path | None) -> Options:
    """Return the options of ours that a code's architecture fixes; none without a code."""
    peer = _peer(system, code) if code else None
    return peer.fixed if peer else {}


def can_draw(system: str, code: Path) -> bool:
    """Whether the code can sample in a time that one can wait for."""
    peer = _peer(system, code)
    return peer is not None and peer.draws


def _peer(system: str, code: Path) -> Peer | None:
    """Which of a system's codes a folder is a checkout of."""
    return next((peer for peer in PEERS.get(system, []) if (code / peer.file).is_file()), None)


@contextmanager
def _importing(code: Path, replaced: Mapping[str, tuple[str, str]]) -> Iterator[None]:
    """Import from a copy of a folder; what came from it is forgotten after, for `util` is a common name."""
    with tempfile.TemporaryDirectory() as folder:
        copy = Path(shutil.copytree(code, f"{folder}/code", ignore=shutil.ignore_patterns(".*")))
        for name, (old, new) in replaced.items():
            text = (copy / name).read_text(encoding="utf-8")
            (copy / name).write_text(text.replace(old, new), encoding="utf-8")
        before = set(sys.modules)
        sys.path.insert(0, str(copy))
        try:
            yield
        finally:
            sys.path.remove(str(copy))
            for name in set(sys.modules) - before:
                origin = getattr(sys.modules[name], "__file__", None) or ""
                if Path(origin).is_relative_to(copy):
                    del sys.modules[name]


def _flow_plus_plus(options: Options, shape: Shape) -> PeerModel:
    module = importlib.import_module("models.flowplusplus.flowplusplus")

    class FlowPlusPlus(PeerModel):
        def __init__(self) -> None:
            super().__init__()
            scales = ((0, options["checkerboard"]), (options["channelwise"], options["checkerboard_after"]))
            self.net = module.FlowPlusPlus(
                scales=scales,
                in_shape=shape,
                mid_channels=options["channels"],
                num_blocks=options["blocks"],
                num_dequant_blocks=options["dequantiser_blocks"],
                num_components=options["components"],
                drop_prob=options["dropout"],
            )

        def nats(self, x: Tensor) -> Tensor:
            z, log_det = self.net(x.float() / 255, reverse=False)
            log_p = (-0.5 * (z**2 + math.log(2 * math.pi))).flatten(1).sum(1)
            return -(log_p + log_det).sum() + len(x) * math.prod(shape) * math.log(256)

        def draw(self, n: int) -> Tensor:
            x, _ = self.net(torch.randn(n, *shape, device=next(self.parameters()).device), reverse=True)
            return torch.sigmoid(x)

    return FlowPlusPlus()


def _glow(options: Options, shape: Shape) -> PeerModel:
    module = importlib.import_module("model")
    # The hidden channels are a default of theirs that Glow does not hand on.
    module.AffineCoupling.__init__.__defaults__ = (options["channels"], True)
    channels, side, _ = shape

    class Glow(PeerModel):
        def __init__(self) -> None:
            super().__init__()
            self.net = module.Glow(channels, options["steps"], options["levels"], affine=True, conv_lu=True)

        def nats(self, x: Tensor) -> Tensor:
            y = x.float() / 256 - 0.5
            log_p, log_det, _ = self.net(y + torch.rand_like(y) / 256)
            return -(log_p + log_det).sum() + len(x) * math.prod(shape) * math.log(256)

        def draw(self, n: int) -> Tensor:
            latents, features, size = [], channels, side
            for level in range(options["levels"]):
                last = level == options["levels"] - 1
                features, size = features * (4 if last else 2), size // 2
                latents.append(torch.randn(n, features, size, size, device=next(self.parameters()).device))
            drawn: Tensor = self.net.reverse(latents)
            return drawn

    return Glow()


def _residual_flow(options: Options, shape: Shape) -> PeerModel:
    module = importlib.import_module("resflows.resflow")
    layers = importlib.import_module("resflows.layers")
    base = importlib.import_module("resflows.layers.base")
    # Theirs stops where x still moves by 0.003. This is our stop, `fixed_point`'s, squared as theirs is.
    far = TOLERANCES[torch.float32] * (1 - options["lipschitz"]) / options["lipschitz"]
    near = 4 * torch.finfo(torch.float32).eps
    layers.iResBlock.stop = lambda _, y: max(far, near * float(y.abs().max())) ** 2
    numbers = options["blocks"]
    numbers = [numbers] * (options["levels"] + 1) if isinstance(numbers, int) else list(numbers)

    class ResidualFlow(PeerModel):
        def __init__(self) -> None:
            super().__init__()
            margin = options["logit_margin"]
            first = layers.ZeroMeanTransform() if margin is None else layers.LogitTransform(margin)
            self.net = module.ResidualFlow(
                (16, *shape),
                n_blocks=numbers,
                intermediate_dim=options["channels"],
                factor_out=False,
                init_layer=first,
                actnorm=True,
                coeff=options["lipschitz"],
                vnorms="2222",
                sn_atol=1e-3,
                sn_rtol=1e-3,
                n_power_series=None,
                n_dist="poisson",
                kernels="3-1-3",
                activation_fn="swish",
                fc_end=options["fc_blocks"] > 0,
                fc_idim=options["fc_channels"],
                n_exact_terms=2,
                preact=True,
                neumann_grad=True,
                grad_in_forward=True,
                first_resblock=True,
            )

        def before_step(self) -> None:
            kinds = tuple(
                getattr(base, f"{norm}Norm{layer}")
                for norm in ("Spectral", "Induced")
                for layer in ("Conv2d", "Linear")
            )
            with torch.no_grad():
                for layer in self.net.modules():
                    if isinstance(layer, kinds):
                        layer.compute_weight(update=True)

        def nats(self, x: Tensor) -> Tensor:
            y = (x.float() + torch.rand_like(x, dtype=torch.float32)) / 256
            z, change = self.net(y, 0)
            log_p = (-0.5 * (z**2 + math.log(2 * math.pi))).flatten(1).sum(1)
            return -(log_p - change.flatten()).sum() + len(x) * math.prod(shape) * math.log(256)

        def draw(self, n: int) -> Tensor:
            device = next(self.parameters()).device
            drawn: Tensor = self.net.inverse(torch.randn(n, math.prod(shape), device=device))
            return drawn

    return ResidualFlow()


def _pixel_cnn(options: Options, shape: Shape) -> PeerModel:
    module = importlib.import_module("pytorch_generative.models.autoregressive.gated_pixel_cnn")

    class GatedPixelCNN(PeerModel):
        def __init__(self) -> None:
            super().__init__()
            self.net = module.GatedPixelCNN(
                in_channels=shape[0],
                out_channels=256 * shape[0],
                n_gated=options["blocks"] - 1,
                gated_channels=options["channels"],
                head_channels=options["head_channels"],
            )

        def nats(self, x: Tensor) -> Tensor:
            logits = self.net(x.float() / 127.5 - 1).unflatten(1, (256, shape[0]))
            return functional.cross_entropy(logits, x.long(), reduction="sum")

    return GatedPixelCNN()


#: system -> the codes that it is compared with.
PEERS = {
    "flowpp": [
        Peer(
            "github.com/chrischute/flowplusplus",
            "models/flowplusplus/flowplusplus.py",
            _flow_plus_plus,
            {"dequantiser_couplings": 4, "heads": 4},
            replaced={"models/flowplusplus/nn.py": ("q *= ", "q = q * ")},
        )
    ],
    "glow": [Peer("github.com/rosinality/glow-pytorch", "model.py", _glow)],
    "residual-flow": [
        Peer(
            "github.com/rtqichen/residual-flows",
            "resflows/resflow.py",
            _residual_flow,
            {"fc_blocks": 4},
            replaced={"resflows/layers/iresblock.py": ("tol = atol + y.abs() * rtol", "tol = self.stop(y)")},
        )
    ],
    "pixelcnn": [
        Peer(
            "github.com/EugenHotaj/pytorch-generative",
            "pytorch_generative/models/autoregressive/gated_pixel_cnn.py",
            _pixel_cnn,
            {"first_kernel": 7, "kernel": 3},
            draws=False,  # it computes the whole image for each sub-pixel
        )
    ],
}
