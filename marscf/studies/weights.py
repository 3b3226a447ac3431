"""Weights for timing: fresh ones, and trained-like ones where the time depends on them.

An iterative inverse (a mixture's CDF, a residual block) takes as many iterations as the weights make it. Most
weights of these models do not hold the image's side, so a trained run's serve at other sides: its tensors
are taken wherever name and shape agree. What it lacks there is fresh: deeper levels, and what belongs to one
image size (ActNorm per position, learned positions, fully connected layers).
"""

from collections.abc import Container
from pathlib import Path

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from marscf.models import load
from marscf.models.base import DensityModel

NOISE = 0.05  # standard deviation given to fresh tensors that are all zero, which would be the identity


@torch.no_grad()
def fill_zeros(model: nn.Module, deviation: float, besides: Container[str] = ()) -> None:
    """Put normal noise into parameters that are all zero, but for those named in `besides`."""
    for name, parameter in model.named_parameters():
        if name not in besides and not parameter.any():
            parameter.normal_(0, deviation)


@torch.no_grad()
def make_trained_like(model: DensityModel, trained: Path | None) -> str:
    """Give a fresh model trained-like weights, in place; return in words which.

    `trained` is a run's weights file, or None where there is no run: then tensors that are all zero get
    normal noise, so that couplings are not the identity. Raises `CheckpointError` as `load` of the run does.
    """
    own = model.state_dict()
    shared: dict[str, Tensor] = {}
    if trained is not None:
        found = load(trained.parent).state_dict()
        shared = {
            name: found[name]
            for name, tensor in own.items()
            if name in found and found[name].shape == tensor.shape
        }
        model.load_state_dict(shared, strict=False)  # an ActNorm left out still waits for its first batch
    fill_zeros(model, NOISE, besides=shared)
    if trained is None:
        return f"fresh, zeros replaced by noise of {NOISE}, for there was no trained run"
    return f"trained: {len(shared)} of {len(own)} tensors from {trained.parent.as_posix()}, the others fresh"


def smooth_images(n: int, shape: tuple[int, int, int], grey_levels: int, device: torch.device) -> Tensor:
    """Draw `n` random images `uint8 (n,C,H,W)` with the falling spectrum of natural ones.

    Noise of every octave with equal variance, brought to mean 1/2 and deviation 1/4 of the range: what
    data-dependent initialisation sees at sides for which there is no dataset.
    """
    channels, height, width = shape
    generator = torch.Generator().manual_seed(0)
    total = torch.zeros(n, channels, height, width)
    side = 2
    while side <= min(height, width):
        noise = torch.randn(n, channels, side, side, generator=generator)
        total += F.interpolate(noise, (height, width), mode="bilinear", align_corners=False)
        side *= 2
    total = 0.5 + 0.25 * (total - total.mean()) / total.std()
    return (total * grey_levels).floor().clamp(0, grey_levels - 1).to(device, torch.uint8)
