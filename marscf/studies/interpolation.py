"""Interpolation in latent space through dense regions (mAR-SCF, arXiv 2004.03891).

A straight line between two latents leaves the dense regions of a multi-modal prior. Each of its points is
therefore moved to a low value of

    J(z) = -λ1·log p(z) + λ2·min(‖z-z_A‖², ‖z-z_B‖²)

by Adamax, over the latents of all levels at once. All points of all pairs are one batch: J has no term
between them and Adamax works element by element, so each point moves as if it were alone. Only λ1/λ2 matters:
the minimum of J does not depend on its scale, and neither do Adamax's steps.

A latent's scale is arbitrary (a flow that ends in z/2 has the same density of images), but λ1/λ2 is stated
for all flows. So ‖·‖ is taken in standard deviations, one number a level; for latents of unit variance that
is the plain norm.
"""

from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor

from marscf.errors import EvaluationError
from marscf.models.base import FlowModel

Latents = list[Tensor]  # one (B,C,H,W) a level, in the order of `encode`


@dataclass(frozen=True)
class Ends:
    """The ends that each of B points lies between, and what distances to them are measured in."""

    first: Latents
    second: Latents
    deviations: list[float]  # one a level; 1 for the plain norm

    def distance(self, z: Latents) -> Tensor:
        """Return `min(‖z-z_A‖², ‖z-z_B‖²)`, `(B,)`.

        A tie counts as nearer to A. (`torch.minimum` would average both gradients: in the middle of the line
        they cancel, and a point at a saddle of the density would stay there.)
        """
        to_first, to_second = self._squared(z, self.first), self._squared(z, self.second)
        return torch.where(to_first <= to_second, to_first, to_second)

    def _squared(self, z: Latents, end: Latents) -> Tensor:
        levels = zip(z, end, self.deviations, strict=True)
        return sum(((a - b) / unit).square().flatten(1).sum(1) for a, b, unit in levels)

    def line(self, t: Tensor) -> Latents:
        """Return the points `(1-t)·z_A + t·z_B` of each pair at `t (T,)`: `(P·T,C,H,W)`, pair by pair."""
        t = t.to(self.first[0]).view(1, -1, 1, 1, 1)
        levels = zip(self.first, self.second, strict=True)
        return [((1 - t) * a.unsqueeze(1) + t * b.unsqueeze(1)).flatten(0, 1) for a, b in levels]

    def repeat(self, copies: int) -> "Ends":
        """Return the ends for so many points a pair, pair by pair."""
        first, second = (
            [level.repeat_interleave(copies, 0) for level in end] for end in (self.first, self.second)
        )
        return Ends(first, second, self.deviations)

    def at(self, index: Tensor) -> "Ends":
        """Return the ends of some of the points."""
        first, second = ([level[index] for level in end] for end in (self.first, self.second))
        return Ends(first, second, self.deviations)


@dataclass(frozen=True)
class Descent:
    """How points are moved."""

    iterations: int = 100
    learning_rate: float = 5e-2
    distance_weight: float = 0.35  # λ2


def relax(
    model: FlowModel,
    start: Latents,
    ends: Ends,
    density_weight: Tensor,
    descent: Descent,
    progress: Callable[[float], None] = lambda gain: None,
) -> Latents:
    """Move B points, each between its own ends, to denser places; `density_weight (B,)` is λ1.

    Of each point's iterates the one with the least J is returned among those whose log p(z) is above the
    start's. Where the pull of the ends allows none, or its image's log p(y) is not above the start's too, the
    point climbs log p(z) alone by smaller steps, and the least J is chosen from there, with a higher log p(y)
    if one was met. `progress` is called after each iteration with the mean gain of log p(z) in nats. Raises
    `EvaluationError` where nothing of higher log p(z) was met (at a mode, or with NaN).
    """
    z, rank = _descend(model, start, ends, density_weight, descent, progress)
    with torch.no_grad():
        rank += (rank > 0) & (model.log_density(model.decode(z)) > model.log_density(model.decode(start)))
    if (rank < 2).any():
        left = (rank < 2).nonzero().squeeze(1)
        smaller = Descent(descent.iterations, descent.learning_rate / 10, descent.distance_weight)
        points = [level[left] for level in start]
        climbed, reached = _descend(model, points, ends.at(left), density_weight[left], smaller, climb=True)
        better = reached > rank[left]
        for level, moved in zip(z, climbed, strict=True):
            level[left[better]] = moved[better]
        rank[left[better]] = reached[better]
        if not rank.all():
            raise EvaluationError(
                f"interpolation: {int((rank == 0).sum())} of {len(start[0])} points found no place denser "
                "than the straight line's: the flow's log p(z) is not finite, or flat, there"
            )
    return z


def _descend(
    model: FlowModel,
    start: Latents,
    ends: Ends,
    density_weight: Tensor,
    descent: Descent,
    progress: Callable[[float], None] = lambda gain: None,
    climb: bool = False,
) -> tuple[Latents, Tensor]:
    """Follow J downhill; return each point's best iterate and its rank, `(B,)`.

    The rank is 0 where no iterate's log p(z) is above the start's, else 1. With `climb`, log p(z) is followed
    uphill instead, and the rank is 2 where log p(y) is above the start's as well. The best iterate is
    of the highest rank, and has the least J in it.
    """
    z = [level.detach().clone().requires_grad_() for level in start]
    best = [level.detach().clone() for level in start]
    optimizer = torch.optim.Adamax(z, lr=descent.learning_rate)
    lowest = torch.full_like(density_weight, torch.inf)
    highest = torch.zeros_like(density_weight, dtype=torch.long)
    floor: Tensor | None = None
    for iteration in range(descent.iterations + 1):
        with torch.enable_grad():
            log_prob = model.latent_log_prob(z)
            objective = -density_weight * log_prob + descent.distance_weight * ends.distance(z)
            downhill = -log_prob if climb else objective
        with torch.no_grad():
            densities = torch.stack([log_prob, *([model.log_density(model.decode(z))] if climb else [])])
            if floor is None:
                floor = densities
            rank = (densities > floor).long().cumprod(0).sum(0)
            better = (rank > highest) | ((rank == highest) & (rank > 0) & (objective < lowest))
            lowest = torch.where(better, objective, lowest)
            highest = torch.where(better, rank, highest)
            for kept, level in zip(best, z, strict=True):
                kept[better] = level[better]
        if iteration == descent.iterations:
            break
        for level, gradient in zip(z, torch.autograd.grad(downhill.sum(), z), strict=True):
            level.grad = gradient
        optimizer.step()
        progress((densities[0] - floor[0]).mean().item())
    return best, highest


@torch.no_grad()
def describe_points(model: FlowModel, z: Latents, ends: Ends) -> tuple[Tensor, Tensor]:
    """Return the points' images `uint8 (B,C,H,W)` and their numbers `(B,3)` in double precision.

    The numbers are log p(z) and log p(y) of the continuous image, both in nats, and the squared distance to
    the nearer end.
    """
    y = model.decode(z)
    numbers = [model.latent_log_prob(z), model.log_density(y), ends.distance(z)]
    return model.to_discrete(y), torch.stack([number.double() for number in numbers], dim=1)
