"""The baselines, for the one loop of test_baselines.py. A new model is one line here."""

import math
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import torch

from marscf.config import load_config, resolve
from marscf.models import build
from marscf.models.base import DensityModel
from marscf.settings import RunConfig

FLOWPP = {
    "checkerboard": 1,
    "channelwise": 1,
    "checkerboard_after": 1,
    "channels": 4,
    "blocks": 1,
    "components": 2,
    "heads": 2,
    "dropout": 0.0,
    "dequantiser_couplings": 1,
    "dequantiser_blocks": 1,
}
#: How the authors' code differs: for CIFAR-10, and for ImageNet 32×32.
AUTHORS = {"split": "stripes", "actnorm": "position", "positions": "learned", "dropped": "values"}
CIFAR = {**FLOWPP, **AUTHORS, "mixing": "identity", "context": "halves", "context_blocks": 2}
IMAGENET = {**FLOWPP, **AUTHORS, "mixing": "none", "context": "attention", "exit_elu": True}
PIXELCNN = {"channels": 6, "blocks": 2, "first_kernel": 3, "kernel": 3, "head_channels": 5}
RESIDUAL = {"levels": 1, "blocks": 1, "channels": 4}
MULTI_SCALE = {"levels": 1, "steps": 2, "channels": 8, "lstm_channels": 4, "lstm_layers": 1}
TARFLOW = {"patch": 2, "blocks": 3, "layers": 1, "channels": 8, "heads": 2}
DEQUANTISER = {"couplings": 1, "blocks": 1, "channels": 4, "components": 2, "heads": 2, "context_blocks": 1}

#: name → model and options; every one takes (C, H, W) with H even and W divisible by 4
BASELINES: dict[str, tuple[str, dict[str, Any]]] = {
    "histogram": ("histogram.PixelHistogram", {}),
    "pixelcnn": ("pixelcnn.PixelCNN", PIXELCNN),
    "flowpp": ("flowpp.FlowPP", FLOWPP),
    "flowpp for cifar10": ("flowpp.FlowPP", CIFAR),
    "flowpp for imagenet32": ("flowpp.FlowPP", IMAGENET),
    "residual-flow": ("residual_flow.ResidualFlow", {**RESIDUAL, "exact_dims": 10_000}),
    "residual-flow, fully connected at the end": (
        "residual_flow.ResidualFlow",
        {**RESIDUAL, "fc_blocks": 2, "fc_channels": 5, "exact_dims": 10_000},
    ),
    "residual-flow by roulette": (
        "residual_flow.ResidualFlow",
        {**RESIDUAL, "exact_dims": 0, "exact_terms": 4, "probes": 2},
    ),
    "marscf flow, learned dequantisation": (
        "multiscale_flow.MultiScaleFlow",
        {**MULTI_SCALE, "logit_margin": 0.05, "dequantiser": DEQUANTISER},
    ),
    "tarflow": ("tarflow.TarFlow", TARFLOW),
    "residual-flow, learned dequantisation": (
        "residual_flow.ResidualFlow",
        {**RESIDUAL, "exact_dims": 10_000, "dequantiser": DEQUANTISER},
    ),
}
FLOWS = [name for name in BASELINES if "flow" in name]
EXACT_FLOWS = [name for name in FLOWS if "roulette" not in name]


def config(name: str, shape=(1, 4, 4), grey_levels: int = 17, **options) -> RunConfig:
    model, own = BASELINES[name]
    data = {"shape": shape, "grey_levels": grey_levels, "dims": math.prod(shape), "augment": "none"}
    return RunConfig.from_json(
        {
            **{"scale": "", "dataset": "", "system": name, "seed": 0, "seed_value": 0},
            **{"model": model, "options": {**own, **options}, "data": data},
        }
    )


def options_of(scale: str, dataset: str, system: str) -> Mapping[str, Any]:
    """What `config/` says."""
    repository = Path(__file__).resolve().parents[2]
    return resolve(load_config(repository / "config"), scale, dataset, system, 0).options


def tiny(name: str, shape=(1, 4, 4), grey_levels: int = 17, size: float = 0.1, **options) -> DensityModel:
    """A small model in float64 and eval mode, its parameters off their starting values."""
    torch.manual_seed(0)
    model = build(config(name, shape, grey_levels, **options)).double()
    if model.closed_form:
        x = images(model, 20)
        model.fit((x * (x > 0.7 * grey_levels)).numpy())  # mostly black
    else:
        with torch.no_grad():
            for parameter in model.parameters():
                parameter.add_(size * torch.randn_like(parameter))
    return model.eval()


def images(model: DensityModel, n: int, seed: int = 0) -> torch.Tensor:
    values = np.random.default_rng(seed).integers(model.grey_levels, size=(n, *model.shape), dtype=np.uint8)
    return torch.from_numpy(values)


def noise(model: DensityModel, n: int, seed: int = 0) -> torch.Tensor | None:
    return model.draw_noise(n, torch.Generator().manual_seed(seed))
