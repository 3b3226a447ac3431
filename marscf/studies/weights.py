"""Weights for timing: fresh ones, and trained-like ones where the time depends on them.

An iterative inverse (a mixture's CDF, a residual block) takes as many iterations as the weights make it. Most
weights of these models do not hold the image's side, so a trained run's serve at other sides: its tensors
are taken wherever name and shape agree. What it lacks there is fresh: deeper levels, and what belongs to one
image size (ActNorm per position, learned positions, fully connected layers).
"""

import functools
from collections.abc import Container
from pathlib import Path

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from marscf.files import sha256_file
from marscf.models import WEIGHTS, load
from marscf.models.base import DensityModel

NOISE = 0.05  # standard deviation given to fresh tensors that are all zero, which would be the identity


@torch.no_grad()
def fill_zeros(model: nn.Module, deviation: float, besides: Container[str] = ()) -> None:
    """Put normal noise into parameters that are all zero, but for those named in `besides`."""
    for name, parameter in model.named_parameters():
        if name not in besides and not parameter.any():
            parameter.normal_(0, deviation)


class TrainedRun:
    """The weights of a finished run, read when they are asked for, and once."""

    def __init__(self, folder: Path):
        self.folder = folder

    @functools.cached_property
    def sha256(self) -> str:
        """Of the weights' file."""
        return sha256_file(self.folder / WEIGHTS)

    @functools.cached_property
    def tensors(self) -> dict[str, Tensor]:
        """By name. Raises `CheckpointError` as `load` does."""
        return load(self.folder).state_dict()


def trained_run(folder: Path) -> TrainedRun | None:
    """Return a run's weights, None where it has none yet."""
    return TrainedRun(folder) if (folder / WEIGHTS).is_file() else None


@torch.no_grad()
def make_trained_like(model: DensityModel, trained: TrainedRun | None) -> str:
    """Give a fresh model trained-like weights, in place; return in words which.

    Without a trained run, tensors that are all zero get normal noise, so that couplings are not the identity.
    Raises `CheckpointError` as `load` of the run does.
    """
    own = model.state_dict()
    found = trained.tensors if trained else {}
    shared = {
        name: found[name]
        for name, tensor in own.items()
        if name in found and found[name].shape == tensor.shape
    }
    if trained:
        model.load_state_dict(shared, strict=False)  # an ActNorm left out still waits for its first batch
    fill_zeros(model, NOISE, besides=shared)
    if trained is None:
        return f"fresh, zeros replaced by noise of {NOISE}, for there was no trained run"
    return f"trained: {len(shared)} of {len(own)} tensors from {trained.folder.as_posix()}, the others fresh"


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
