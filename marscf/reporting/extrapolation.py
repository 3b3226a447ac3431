"""Where a training curve points to: a power law through its validations, up to the paper's own budget.

    bits/dim = a + b·images^(-c),   a, b ≥ 0

An extrapolation says little by itself. So each fit is first tried on shorter parts of its own run, and how
wrong it was there widens what is said of the budget.
"""

import math
import statistics
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from marscf.reporting.training_curves import VALIDATION, read_log

BEGINNING = 0.1  # share of the images, at the start, that no power law fits
LEAST = 5  # validations that a fit needs
EXPONENTS = np.geomspace(0.05, 2.0, 80)
DRAWS = 200  # of the residuals, for the interval
PREFIXES = {2: "½", 4: "¼"}  # how many times as long the run is → the part that the trial sees
WIDEST = 0.3  # bits/dim: a wider interval says nothing


@dataclass(frozen=True)
class Curve:
    """The validations of one run: images trained on, and bits/dim, both `(n,)`."""

    run: str
    images: np.ndarray
    bits: np.ndarray

    def until(self, images: float) -> "Curve":
        """The part of it up to so many images."""
        return self._where(self.images <= images * (1 + 1e-9))

    def late(self) -> "Curve":
        """It without its beginning."""
        return self._where(self.images >= BEGINNING * self.images.max(initial=0))

    def _where(self, chosen: np.ndarray) -> "Curve":
        return Curve(self.run, self.images[chosen], self.bits[chosen])


def read_curve(run: str) -> Curve | None:
    """The validations of a run, None where it has none."""
    log = read_log(run)
    seen = None if log is None else log.dropna(subset=[VALIDATION])
    if seen is None or seen.empty:
        return None
    return Curve(run, seen["images"].to_numpy(float), seen[VALIDATION].to_numpy(float))


def fit(images: np.ndarray, bits: np.ndarray) -> np.ndarray:
    """Fit `a + b·images^(-c)` by least squares.

    Args:
        images: `(n,)`.
        bits: `(n,)`, or `(k, n)` for k fits.

    Returns:
        a, b and c, `(3,)` or `(k, 3)`.
    """
    many = np.atleast_2d(bits)
    best = np.full((len(many), 3), np.nan)
    least = np.full(len(many), np.inf)
    for c in EXPONENTS:
        x = images ** (-c) / images[0] ** (-c)
        b = ((many - many.mean(axis=1, keepdims=True)) @ (x - x.mean())) / ((x - x.mean()) ** 2).sum()
        b = np.maximum(b, 0.0)
        a = many.mean(axis=1) - b * x.mean()
        below = a < 0  # bits/dim cannot be negative: then the line goes through 0
        b = np.where(below, np.maximum(many @ x, 0.0) / (x @ x), b)
        a = np.maximum(a, 0.0)
        error = ((many - a[:, None] - b[:, None] * x) ** 2).sum(axis=1)
        better = error < least
        least = np.where(better, error, least)
        best[better] = np.stack([a, b * images[0] ** c, np.full(len(many), c)], axis=1)[better]
    return best if bits.ndim > 1 else best[0]


def value(law: np.ndarray, images: float | np.ndarray) -> np.ndarray:
    """Bits/dim of laws `(…, 3)` at so many images."""
    a, b, c = np.moveaxis(law, -1, 0)
    return a + b * np.asarray(images, float) ** (-c)


def settled(curve: Curve) -> Curve | None:
    """A curve without its beginning; None where too few validations are left for a fit."""
    late = curve.late()
    return late if len(late.images) >= LEAST else None


def draws(curve: Curve, images: float) -> np.ndarray:
    """Bits/dim at so many images by `DRAWS` fits, each to the fitted curve with its residuals drawn again."""
    law = fit(curve.images, curve.bits)
    fitted = value(law, curve.images)
    residuals = (curve.bits - fitted) * math.sqrt(len(fitted) / (len(fitted) - 3))
    chosen = np.random.default_rng(0).choice(residuals, size=(DRAWS, len(fitted)))
    return value(fit(curve.images, fitted + chosen), images)


def trial_error(curve: Curve, times: int) -> float | None:
    """Predict a run's end from its first part, 1/`times` of it: predicted minus reached, in bits/dim."""
    part = settled(curve.until(curve.images[-1] / times))
    if part is None:
        return None
    return float(value(fit(part.images, part.bits), curve.images[-1]) - curve.bits[-1])


@dataclass(frozen=True)
class Outlook:
    """What the curves of a system's seeds say of a budget; `errors` of the trials are by `PREFIXES`."""

    reached: list[float]
    seen: float
    errors: dict[int, list[float]]
    budget: float
    middle: float
    low: float
    high: float

    def verdict(self, published: float | None) -> tuple[str, str]:
        """Whether the published number lies on the way, and why."""
        if published is None:
            return "can't say", "no published number for this dataset as it is here"
        if self.high - self.low > WIDEST:
            return "can't say", f"the interval is wider than {WIDEST} bits/dim"
        if published < self.low:
            return "short", "the published number is below the interval"
        return "on course", "the published number is in the interval, or above it"


def outlook(curves: Sequence[Curve], budget: float) -> Outlook | None:
    """Extrapolate the curves of one system's seeds; None where they are too short for a fit.

    The interval holds 95 % of the draws of all seeds. It is widened on both sides by the error of the longest
    trial, which grows with the logarithm of how far the extrapolation goes.
    """
    fitted = [late for curve in curves if (late := settled(curve)) is not None]
    if len(fitted) < len(curves) or not fitted:
        return None
    values = np.concatenate([draws(curve, budget) for curve in fitted])
    errors = {
        times: [error for curve in curves if (error := trial_error(curve, times)) is not None]
        for times in PREFIXES
    }
    seen = statistics.fmean(curve.images[-1] for curve in curves)
    tried = max((times for times in PREFIXES if errors[times]), default=None)
    wrong = math.inf
    if tried is not None:
        further = math.log(max(budget / seen, 1.0)) / math.log(tried)
        wrong = max(map(abs, errors[tried])) * further
    low, high = np.quantile(values, [0.025, 0.975])
    return Outlook(
        reached=[float(curve.bits[-1]) for curve in curves],
        seen=seen,
        errors=errors,
        budget=budget,
        middle=float(np.median(values)),
        low=max(0.0, float(low) - wrong),
        high=float(high) + wrong,
    )
