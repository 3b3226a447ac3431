"""Paths between many pairs of images, in batches: an interrupted study goes on after the last one."""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from torch import Tensor
from tqdm import tqdm

from marscf.config import Interpolation
from marscf.files import replacing
from marscf.models.base import FlowModel
from marscf.studies.interpolation import Density, Descent, Ends, Units, describe_points, relax
from marscf.studies.interpolation_pairs import exact_latents


@dataclass(frozen=True, order=True)
class Choice:
    """One way to walk; with λ = 0, the straight line."""

    density: Density
    weight: float  # λ

    def __str__(self) -> str:
        return "line" if self == LINE else f"{self.density}-{self.weight:g}"


LINE = Choice("ignored", 0.0)


@dataclass(frozen=True)
class Walk:
    """The T points of P pairs, from end to end."""

    images: np.ndarray  # uint8 (P,T,C,H,W)
    numbers: np.ndarray  # float64 (P,T,4), see NUMBERS


def middle(lambdas: list[float]) -> float:
    """Return the λ in the middle, of two the greater."""
    return sorted(lambdas)[len(lambdas) // 2]


def descent_of(choice: Choice, settings: Interpolation) -> Descent:
    """Return the descent of a choice: λ1 = λ2 = λ. With two terms the ratio counts: λ2 is the middle λ."""
    two = settings.objective == "two-term"
    return Descent(
        choice.weight,
        middle(settings.lambdas) if two else choice.weight,
        choice.density,
        settings.objective,
        settings.iterations,
        settings.learning_rate,
    )


def walk(
    model: FlowModel,
    images: Tensor,
    units: Units,
    choice: Choice,
    settings: Interpolation,
    progress: Callable[[float], None],
) -> Walk:
    """Walk between pairs of images `(P,2,C,H,W) uint8`, all points in one batch."""
    layout = (len(images), settings.points)
    model, latents = exact_latents(model, images.flatten(0, 1))
    ends = Ends.of(model, [level[0::2] for level in latents], [level[1::2] for level in latents], units)
    line = ends.line(torch.linspace(0, 1, settings.points, dtype=torch.float64))
    z = line
    if choice != LINE:
        inner = [level.unflatten(0, layout)[:, 1:-1].flatten(0, 1) for level in line]
        between = ends.repeat(settings.points - 2)
        moved = relax(model, inner, between, descent_of(choice, settings), progress)
        z = [level.clone() for level in line]
        for level, new in zip(z, moved, strict=True):
            level.unflatten(0, layout)[:, 1:-1] = new.unflatten(0, (len(images), -1))
    shown, numbers = describe_points(model, z, line, ends.repeat(settings.points))
    return Walk(shown.unflatten(0, layout).cpu().numpy(), numbers.unflatten(0, layout).cpu().numpy())


def walk_all(
    model: FlowModel,
    images: Tensor,
    units: Units,
    choices: list[Choice],
    settings: Interpolation,
    folder: Path,
) -> dict[Choice, Walk]:
    """Walk all pairs `(P,2,C,H,W)` in each way, `settings.batch_size` points at once.

    Each batch is kept in `folder`; one that is there is not walked again.
    """
    chunks = images.split(max(1, settings.batch_size // (settings.points - 2)))
    total = len(chunks) * settings.iterations * sum(choice != LINE for choice in choices)
    bar = tqdm(total=total, desc=f"{folder.name} pairs", unit="step")

    def progress(gain: float) -> None:
        bar.set_postfix_str(f"{choice}, log p(z) {gain:+.1f} nats", refresh=False)
        bar.update()

    found = {}
    with bar:
        for choice in choices:
            parts = []
            for number, chunk in enumerate(chunks):
                path = folder / f"{choice}-{number}.npz"
                if not path.is_file():
                    part = walk(model, chunk, units, choice, settings, progress)
                    with replacing(path) as temporary:
                        np.savez(temporary, images=part.images, numbers=part.numbers)
                elif choice != LINE:
                    bar.update(settings.iterations)
                with np.load(path, allow_pickle=False) as saved:
                    parts.append(Walk(saved["images"], saved["numbers"]))
            found[choice] = Walk(
                np.concatenate([part.images for part in parts]),
                np.concatenate([part.numbers for part in parts]),
            )
    return found
