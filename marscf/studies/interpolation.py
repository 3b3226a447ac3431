"""Interpolation in latent space through dense regions (mAR-SCF, arXiv 2004.03891, section 4.4).

A straight line between two latents leaves the dense regions of a multi-modal prior. Each of its points is
therefore moved to a low value of

    J(z) = -λ1·log p(z) + λ2·min(‖z-z_A‖², ‖z-z_B‖²)

by Adamax, over the latents of all levels at once. All points of all pairs are one batch: J has no term
between them and Adamax works element by element, so each point moves as if it were alone.
Only λ1/λ2 matters: the minimum of J does not depend on its scale, and neither do Adamax's steps.
"""

from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor

from marscf.errors import EvaluationError
from marscf.models.base import FlowModel

Latents = list[Tensor]  # one (B,C,H,W) a level, in the order of `encode`


@dataclass(frozen=True)
class Descent:
    """How points are moved."""

    iterations: int = 100
    learning_rate: float = 5e-2
    distance_weight: float = 0.35  # λ2


def straight(first: Latents, second: Latents, t: Tensor) -> Latents:
    """Return the points `(1-t)·z_A + t·z_B`: `(P,C,H,W)` pairs at `t (T,)` → `(P·T,C,H,W)`, pair by pair."""
    t = t.to(first[0]).view(1, -1, 1, 1, 1)
    return [
        ((1 - t) * a.unsqueeze(1) + t * b.unsqueeze(1)).flatten(0, 1)
        for a, b in zip(first, second, strict=True)
    ]


def squared_distance(z: Latents, end: Latents) -> Tensor:
    """Return `‖z-end‖²` over all levels, `(B,)`."""
    return sum((a - b).square().flatten(1).sum(1) for a, b in zip(z, end, strict=True))


def distance_to_ends(z: Latents, first: Latents, second: Latents) -> Tensor:
    """Return `min(‖z-z_A‖², ‖z-z_B‖²)`, `(B,)`.

    A tie counts as nearer to A. (`torch.minimum` would average both gradients: at the middle of the line they
    cancel, and a point at a saddle of the density would stay there.)
    """
    to_first, to_second = squared_distance(z, first), squared_distance(z, second)
    return torch.where(to_first <= to_second, to_first, to_second)


def relax(
    model: FlowModel,
    start: Latents,
    first: Latents,
    second: Latents,
    density_weight: Tensor,
    descent: Descent,
    progress: Callable[[float], None] = lambda gain: None,
) -> Latents:
    """Move the points `start`, each between its own ends, to denser places; all arguments are `(B,…)`.

    `density_weight (B,)` is λ1. Of each point's iterates the one with the least J is returned among those
    whose log p(z) is above the start's; where the pull of the ends allows none, the point climbs log p(z)
    alone. `progress` is called after each iteration with the mean gain of log p(z) in nats. Raises
    `EvaluationError` where a point has no denser place within reach (a mode, or NaN).
    """
    z, found = _descend(model, start, first, second, density_weight, descent, progress)
    if not found.all():
        left = (~found).nonzero().squeeze(1)
        alone = Descent(descent.iterations, descent.learning_rate / 10, distance_weight=0.0)
        only = [[level[left] for level in latents] for latents in (start, first, second)]
        climbed, found = _descend(model, *only, density_weight[left], alone, lambda gain: None)
        if not found.all():
            raise EvaluationError(
                f"interpolation: {int((~found).sum())} of {len(start[0])} points found no place denser than "
                "the straight line's: the flow's log p(z) is not finite, or flat, there"
            )
        for level, moved in zip(z, climbed, strict=True):
            level[left] = moved
    return z


def _descend(
    model: FlowModel,
    start: Latents,
    first: Latents,
    second: Latents,
    density_weight: Tensor,
    descent: Descent,
    progress: Callable[[float], None],
) -> tuple[Latents, Tensor]:
    """Return each point's best iterate, and whether one was denser than the start, `(B,)` bool."""
    z = [level.detach().clone().requires_grad_() for level in start]
    best = [level.detach().clone() for level in start]
    optimizer = torch.optim.Adamax(z, lr=descent.learning_rate)
    lowest = torch.full_like(density_weight, torch.inf)
    floor: Tensor | None = None
    for iteration in range(descent.iterations + 1):
        with torch.enable_grad():
            log_prob = model.latent_log_prob(z)
            distance = distance_to_ends(z, first, second)
            objective = -density_weight * log_prob + descent.distance_weight * distance
        with torch.no_grad():
            if floor is None:
                floor = log_prob.clone()
            better = (log_prob > floor) & (objective < lowest)
            lowest = torch.where(better, objective, lowest)
            for kept, level in zip(best, z, strict=True):
                kept[better] = level[better]
        if iteration == descent.iterations:
            break
        for level, gradient in zip(z, torch.autograd.grad(objective.sum(), z), strict=True):
            level.grad = gradient
        optimizer.step()
        progress((log_prob.detach() - floor).mean().item())
    return best, lowest.isfinite()


@torch.no_grad()
def describe_points(model: FlowModel, z: Latents, first: Latents, second: Latents) -> tuple[Tensor, Tensor]:
    """Return the points' images `uint8 (B,C,H,W)` and their numbers `(B,3)` in double precision.

    The numbers are log p(z), log p(y) of the continuous image (both in nats), and the squared distance to
    the nearer end.
    """
    y = model.decode(z)
    numbers = [model.latent_log_prob(z), model.log_density(y), distance_to_ends(z, first, second)]
    return model.to_discrete(y), torch.stack([number.double() for number in numbers], dim=1)
