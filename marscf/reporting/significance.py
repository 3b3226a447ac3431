"""How much better one system is than another, and whether chance explains it.

A difference of test likelihoods contains two kinds of chance. Another seed gives another model: of a system's
n seeds with standard deviation s, the mean has the variance s²/n. Other test images give other numbers: the
systems are scored on the same N images, so the variance is that of the image-by-image differences, over N.
The seeds of a system share the test images too, so their spread contains nothing of the second kind: the two
are added. (An image on which one seed does well and another badly counts in both, which is on the safe side.)
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from marscf.errors import MarscfError
from marscf.evaluation.measured import read_measurements, read_per_image
from marscf.evaluation.measurements import PER_IMAGE
from marscf.reporting.metrics import Row, metric_of
from marscf.runs import Run

SEEDS = 3  # of each system, at least, to decide a claim
CONFIDENCE = 0.95


@dataclass(frozen=True)
class Difference:
    """A system's gain over another, in the metric's unit, positive where it is the better one.

    `error` is its standard error: of seeds and of the measurement where `seeds`, the smaller number of the
    two, is above 1; only of the measurement where it is 1. `reach` is half the width of the confidence
    interval. `images` is how many images it is paired over, None where the metric has no value per image.
    """

    gain: float
    error: float
    reach: float
    seeds: int
    images: int | None

    @property
    def verdict(self) -> str:
        """What is said of the claim that the system is better: a key of `findings.VERDICTS`."""
        if self.seeds < SEEDS:
            return "one-seed" if self.seeds == 1 else "two-seeds"
        return "holds" if self.gain > self.reach else "fails" if self.gain < -self.reach else "open"


def difference(
    first: Sequence[Row], second: Sequence[Row], *, counted: bool = False, common: bool = False
) -> Difference:
    """Compare two systems by the rows of one metric on one dataset, one row per seed.

    Bits/dim are compared image by image (RUN/likelihood.npz), other metrics by their values, whose own errors
    are added. `counted` says that the second system has no seeds: it is counted, not trained. `common` says
    that the runs may be scored on different numbers of images: those that all have are compared. The interval
    takes Student's t with the degrees of freedom of Welch and Satterthwaite. Raises `MarscfError` where a
    run's images are missing, or are not those of the others.
    """
    metric = first[0]["metric"]
    paired = metric == "bits_per_dim"
    if paired:
        scores = per_image([*first, *second], common)
        means = [scores[: len(first)].mean(axis=1), scores[len(first) :].mean(axis=1)]
        gains = scores[len(first) :].mean(axis=0) - scores[: len(first)].mean(axis=0)
        parts: list[tuple[float, float]] = [(gains.var(ddof=1) / len(gains), len(gains) - 1)]
    else:
        means = [np.array([row["value"] for row in rows]) for rows in (first, second)]
        own = [
            np.nan_to_num(np.array([row["stderr"] for row in rows], dtype=float)) for rows in (first, second)
        ]
        parts = [(np.square(errors).sum() / len(errors) ** 2, math.inf) for errors in own]
    trained = means[:1] if counted else means
    seeds = min(map(len, trained))
    if seeds > 1:
        parts += [(values.var(ddof=1) / len(values), len(values) - 1) for values in trained]
    gain = means[1].mean() - means[0].mean()
    if metric_of(metric).better == "higher":
        gain = -gain
    error, reach = _interval(parts)
    return Difference(float(gain), error, reach, seeds, len(gains) if paired else None)


def _interval(parts: Sequence[tuple[float, float]]) -> tuple[float, float]:
    """The standard error, and half the confidence interval, of a sum of (variance, degrees of freedom)."""
    from scipy.special import stdtrit

    variance = sum(part for part, _ in parts)
    if variance == 0:
        return 0.0, 0.0
    # Satterthwaite 1946: Σv is distributed about as if it had (Σv)² / Σ(v²/f) degrees of freedom
    shares = sum((part / variance) ** 2 / freedom for part, freedom in parts)
    freedom = min(1 / shares, 1e9) if shares else 1e9
    error = math.sqrt(variance)
    return error, float(stdtrit(freedom, (1 + CONFIDENCE) / 2)) * error


def missing(rows: Sequence[Row]) -> str | None:
    """The first of the rows' runs that has no likelihoods per image, or None."""
    runs = (_run(row).path for row in rows)
    return next((str(run) for run in runs if not (run / PER_IMAGE).is_file()), None)


def per_image(rows: Sequence[Row], common: bool = False) -> np.ndarray:
    """Bits/dim of each test image, `(rows, N)`; raises `MarscfError` naming what does not fit.

    The runs have to be scored on as many images; if `common`, those that only some have are left out. Scores
    are of the first images of the test set.
    """
    found = []
    for row in rows:
        path = _run(row).path / PER_IMAGE
        scores = read_per_image(path.parent)
        if (measured := path.with_suffix(".json")).is_file():
            read_measurements(measured, _run(row))  # or it says that the scores are not its own
        if scores is None:
            raise MarscfError(f"no {path}; make it with: marscf evaluate likelihood {path.parent}")
        bits = scores.bits_per_dim
        if not math.isclose(bits.mean(), row["value"], rel_tol=1e-9, abs_tol=1e-9):
            raise MarscfError(
                f"{path} has {bits.mean():.6f} bits/dim, the table {row['value']:.6f}: they are of different "
                "measurements; run: marscf report collect"
            )
        found.append((path, scores, bits))
    path, scores, bits = found[0]
    for other, theirs, their_bits in found[1:]:
        same = (scores.dims, scores.data) == (theirs.dims, theirs.data)
        if not same or (len(bits) != len(their_bits) and not common):
            raise MarscfError(
                f"{path} ({len(bits)} images) and {other} ({len(their_bits)} images) are not of the "
                "same test images; measure both again"
            )
    number = min(len(bits) for _, _, bits in found)
    return np.stack([bits[:number] for _, _, bits in found])


def _run(row: Row) -> Run:
    return Run(row["scale"], row["dataset"], row["system"], int(row["seed"]))
