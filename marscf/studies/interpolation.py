"""Interpolation in latent space, moved off the straight line: our reading of mAR-SCF's (arXiv 2004.03891).

The supplement does not print the objective. As people who read the main text remember it, it has three terms,

    ‖z-z_line‖ - λ1·log p(z) + λ2·min(‖x-x_A‖, ‖x-x_B‖),  x = g⁻¹(z),

and is the straight line for λ1 = λ2 = 0. Norms and units are not known; here each point z goes downhill on

    J(z) = mean(((z-z_line)/s)²) - λ1·log p(z)/D + λ2·min(mean(((y-y_A)/s_y)²), mean(((y-y_B)/s_y)²)).

- Each latent is measured in the standard deviation s of real images' latents of its level, pixels in that of
  real images' pixels, s_y; both distances are then about 2 between two unrelated images. log p(z) is in nats
  per dimension. So nothing depends on the scale of a latent, which is arbitrary: a flow that ends in z/2 has
  the same density of images. Times D, these are sums of squares and plain nats.
- Norms are squared. A plain one has a slope at its zero, the start, and holds the point there for small λ.
- The densest images of a flow are not its typical ones. So, unless asked otherwise, density counts up to that
  of the denser real end, and no point ends denser than that (`relax`).

The option `two-term` leaves the line out and takes latents for images:
-λ1·log p(z)/D + λ2·min(mean(((z-z_A)/s)²), mean(((z-z_B)/s)²)). Only λ1/λ2 matters to it.
"""

import functools
from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor

from marscf.errors import EvaluationError
from marscf.models.base import FlowModel

Latents = list[Tensor]  # one (B,C,H,W) per level, in the order of `encode`
Density = Literal["typical", "unbounded", "ignored"]
Objective = Literal["three-term", "two-term"]


@dataclass(frozen=True)
class Units:
    """Standard deviations of real images' latents, one per level, and of their continuous pixels."""

    latents: list[float]
    pixels: float


@dataclass(frozen=True)
class Ends:
    """The two real ends that each of B points lies between; `log_prob (B,)` is of the denser, in nats."""

    latents: tuple[Latents, Latents]
    images: tuple[Tensor, Tensor]  # y, (B,C,H,W)
    log_prob: Tensor
    units: Units

    @classmethod
    @torch.no_grad()
    def of(cls, model: FlowModel, first: Latents, second: Latents, units: Units) -> "Ends":
        """The ends with these latents."""
        log_prob = torch.maximum(model.latent_log_prob(first), model.latent_log_prob(second))
        return cls((first, second), (model.decode(first), model.decode(second)), log_prob, units)

    def line(self, t: Tensor) -> Latents:
        """Return the points `(1-t)·z_A + t·z_B` of each pair at `t (T,)`: `(P·T,C,H,W)`, pair by pair."""
        t = t.to(self.latents[0][0]).view(1, -1, 1, 1, 1)
        levels = zip(*self.latents, strict=True)
        return [((1 - t) * a.unsqueeze(1) + t * b.unsqueeze(1)).flatten(0, 1) for a, b in levels]

    def repeat(self, copies: int) -> "Ends":
        """Return the ends for `copies` points per pair, pair by pair."""
        first, second = ([level.repeat_interleave(copies, 0) for level in end] for end in self.latents)
        one, other = (image.repeat_interleave(copies, 0) for image in self.images)
        return Ends((first, second), (one, other), self.log_prob.repeat_interleave(copies, 0), self.units)

    def image_distance(self, y: Tensor) -> Tensor:
        """Return the mean square distance of images to the nearer end's, `(B,)`, in the pixels' unit."""
        one, other = self.images
        return _nearer([y], [one], [other], [self.units.pixels])

    def latent_distance(self, z: Latents) -> Tensor:
        """Return the mean square distance of latents to the nearer end's, `(B,)`, in their units."""
        return _nearer(z, *self.latents, self.units.latents)


def mean_square(z: Latents, to: Latents, units: list[float]) -> Tensor:
    """Return the mean over all dimensions of all levels of `((z-to)/unit)²`, `(B,)`."""
    levels = zip(z, to, units, strict=True)
    squares = [((a - b) / unit).square().flatten(1).sum(1) for a, b, unit in levels]
    return functools.reduce(torch.add, squares) / sum(level[0].numel() for level in z)


def _nearer(z: Latents, first: Latents, second: Latents, units: list[float]) -> Tensor:
    """The lesser distance. A tie counts as nearer to the first end: averaged, the two pulls would cancel."""
    to_first, to_second = mean_square(z, first, units), mean_square(z, second, units)
    return torch.where(to_first <= to_second, to_first, to_second)


@dataclass(frozen=True)
class Descent:
    """What is minimised, and how."""

    density_weight: float  # λ1
    ends_weight: float  # λ2
    density: Density = "typical"
    objective: Objective = "three-term"
    iterations: int = 100
    learning_rate: float = 5e-2  # in each latent's unit


def objective(
    model: FlowModel, z: Latents, line: Latents, ends: Ends, descent: Descent
) -> tuple[Tensor, Tensor | None]:
    """Return `J(z)` and `log p(z)`, `(B,)` each, the latter None where it is ignored.

    With the density `typical`, log p(z) above the denser end's counts as the end's: J is flat there.
    """
    if descent.objective == "three-term":
        distance = mean_square(z, line, ends.units.latents)
        distance = distance + descent.ends_weight * ends.image_distance(model.decode(z))
    else:
        distance = descent.ends_weight * ends.latent_distance(z)
    if descent.density == "ignored":
        return distance, None
    log_prob = model.latent_log_prob(z)
    counted = log_prob
    if descent.density == "typical":
        counted = torch.where(log_prob < ends.log_prob, log_prob, ends.log_prob)
    return distance - descent.density_weight * counted / model.dims, log_prob


def relax(
    model: FlowModel,
    line: Latents,
    ends: Ends,
    descent: Descent,
    progress: Callable[[float], None] = lambda gain: None,
) -> Latents:
    """Move B points from the straight line, each between its own ends, by Adamax on J.

    The last iterate is returned, whatever it is. With the density `typical`, that is the last which is no
    denser than the denser of the two real ends, or than the straight line's point where that is denser
    already: J alone can't hold a point there, since a step may pass the bound and the pull back be weak.
    Points move as if alone: J has no term between them, and Adamax works element by element. `progress` is
    called after each iteration with the mean gain of log p(z) in nats (0 where it is ignored). Raises
    `EvaluationError` where log p(z) is not finite.
    """
    units = ends.units.latents
    offsets = [
        torch.zeros_like(level, requires_grad=True) for level in line
    ]  # in the latents' units: the same scale at all levels
    last = [torch.zeros_like(level) for level in line]
    optimizer = torch.optim.Adamax(offsets, lr=descent.learning_rate)
    start: Tensor | None = None
    within = torch.ones_like(ends.log_prob, dtype=torch.bool)
    for iteration in range(descent.iterations + 1):
        with torch.enable_grad():
            z = [place + unit * by for place, unit, by in zip(line, units, offsets, strict=True)]
            value, log_prob = objective(model, z, line, ends, descent)
        if log_prob is not None:
            if not log_prob.isfinite().all():
                raise EvaluationError(f"interpolation: log p(z) is not finite after {iteration} iterations")
            start = log_prob.detach() if start is None else start
            if descent.density == "typical":
                within = log_prob <= torch.maximum(start, ends.log_prob)
        for kept, offset in zip(last, offsets, strict=True):
            kept[within] = offset.detach()[within]
        if iteration == descent.iterations:
            break
        for offset, gradient in zip(offsets, torch.autograd.grad(value.sum(), offsets), strict=True):
            offset.grad = gradient
        optimizer.step()
        progress(0.0 if log_prob is None or start is None else (log_prob - start).mean().item())
    return [place + unit * by for place, unit, by in zip(line, units, last, strict=True)]


#: What `describe_points` gives, in this order; columns of `interpolation.csv`.
NUMBERS = ("log_prob_latent", "log_prob_image", "line_distance", "image_distance")


@torch.no_grad()
def describe_points(model: FlowModel, z: Latents, line: Latents, ends: Ends) -> tuple[Tensor, Tensor]:
    """Return the points' images `uint8 (B,C,H,W)` and their `NUMBERS (B,4)` in double precision.

    log p(z) and log p(y) of the continuous image, both in nats; the mean square distances to the straight
    line's point (of latents) and to the nearer end (of images), in their units.
    """
    y = model.decode(z)
    densities = [model.latent_log_prob(z), model.log_density(y)]
    numbers = [*densities, mean_square(z, line, ends.units.latents), ends.image_distance(y)]
    return model.to_discrete(y), torch.stack([number.double() for number in numbers], dim=1)
