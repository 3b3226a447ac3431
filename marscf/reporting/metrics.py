"""What each number of `metrics.csv` is: its title, its good direction, and how far chance moves it.

A metric is declared in `METRICS`, and nowhere else. A measurement of another name is an error. A name may say
in brackets what it was measured with or at: `fid[digits-net]`, `sampling_ms[32]`.
"""

import math
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from functools import partial
from typing import Any, Literal

from marscf.errors import MarscfError, nearest

COLUMNS = [
    *("scale", "dataset", "system", "seed", "metric", "value", "stderr", "n", "protocol"),
    *("published", "published_source"),
]

#: A row of `metrics.csv`, by its columns.
Row = Mapping[Any, Any]


@dataclass(frozen=True)
class Metric:
    """A kind of number.

    `better` is lower, higher, equal (any change is a regression) or none (shown, never compared: timings).
    Two measurements of one thing differ by chance within `k·standard error + floor`. Here
    `floor = max(relative·|value|, absolute)` is what another training seed changes: the standard error over
    test images does not include it. No right number is below `low`. Standard errors of two measurements are
    alike within the factor `errors_alike`; where both are of the `same_images`, these are no chance between
    them. `another_seed` is how far one training, or two, may end from a published number and still reproduce
    it; None where this is not known. `table` is the table that has a column of it.
    """

    title: str
    better: Literal["lower", "higher", "equal", "none"]
    table: Literal["likelihood", "fidelity"] | None = None
    relative: float = 0.0
    absolute: float = 0.0
    digits: int = 3  # after the decimal point, where there is no standard error
    low: float = -math.inf
    errors_alike: float = math.inf
    same_images: bool = False
    by_speed: bool = False  # measured only where the machine is fast enough
    another_seed: float | None = None

    def floor(self, value: float) -> float:
        """The allowance for another seed."""
        return max(self.relative * abs(value), self.absolute)


# P(image) ≤ 1, so less than 0 bits means a wrong log-determinant, not a good model. `errors_alike`: between
# seeds of scale quick, errors over test images differ by 8 %, those over few halves and splits by 120 %.
# `another_seed`: no paper here prints a spread over seeds. With two decimals 0.01 is the least.
likelihood = partial(Metric, better="lower", table="likelihood", relative=0.02, low=0.0, errors_alike=1.5)
fidelity = partial(Metric, table="fidelity", errors_alike=4.0)

#: In the order of the tables' columns.
METRICS = {
    "bits_per_dim": likelihood("bits/dim", absolute=0.01, another_seed=0.01),
    "bits_per_dim_iw": likelihood("bits/dim, importance-weighted", absolute=0.01),
    "bits_per_dim_train": likelihood("bits/dim of training images", absolute=0.01, table=None),
    "generalisation_gap": Metric(
        "bits/dim of test less training images", "lower", relative=0.25, absolute=0.025, same_images=True
    ),
    "nats_per_image": likelihood("nats/image", absolute=0.5, digits=1),
    "fid": fidelity("FID", "lower", relative=0.15, absolute=0.3, digits=1),
    "kid": fidelity("KID", "lower", relative=0.3, absolute=0.02, digits=4),
    "inception_score": fidelity("IS", "higher", relative=0.1, absolute=0.1, digits=2, low=0.0),
    "precision": fidelity("precision", "higher", absolute=0.15, low=0.0),
    "recall": fidelity("recall", "higher", absolute=0.15, low=0.0),
    "parameters": Metric("parameters", "equal", "likelihood", digits=0),
    "gflops_per_image": Metric("GFLOPs per image in training", "none", "likelihood"),
    "train_minutes": Metric("training minutes", "none", "likelihood", digits=1),
    "images_seen": Metric("images seen in training", "equal", "likelihood", digits=0),
    "sequential_steps": Metric("sequential steps", "equal", digits=0, by_speed=True),
    "train_images_per_second": Metric("training images/s", "none", digits=0),
    "sampling_ms": Metric("sampling ms", "none", digits=1),
}


def metric_of(name: str, place: str = "") -> Metric:
    """Return what `name` is; raises `MarscfError`, after `place`, where it is not declared."""
    kind = name.partition("[")[0]
    if kind not in METRICS:
        raise MarscfError(
            f"{place}{': ' * bool(place)}metric {kind!r} is not declared{nearest(kind, METRICS)}; "
            "declare it in METRICS of marscf/reporting/metrics.py"
        )
    return METRICS[kind]


def names_of(table: str, found: Iterable[str]) -> list[str]:
    """Return the metrics of a table that were measured, in the order in which they are declared."""
    measured = list(dict.fromkeys(found))
    declared = [name for name, metric in METRICS.items() if metric.table == table]
    return [name for kind in declared for name in measured if name.partition("[")[0] == kind]


def qualifier(name: str) -> str:
    """Return what is in the brackets of a metric's name, or nothing."""
    return name.partition("[")[2].rstrip("]")


def title(name: str) -> str:
    """Return a metric's title, with what it was measured by: `FID (digits-net)`."""
    own = qualifier(name)
    return f"{metric_of(name).title} ({own})" if own else metric_of(name).title


def pretty(name: str, value: float, stderr: float | None = None) -> str:
    """Format a metric's value with its standard error, or with the metric's own digits."""
    return rounded(value, stderr, metric_of(name).digits)


def rounded(value: float, stderr: float | None = None, digits: int = 3) -> str:
    """Format a number with its standard error to two digits of the error; without an error to `digits`."""
    if stderr and math.isfinite(stderr):
        digits = max(0, 1 - math.floor(math.log10(stderr)))
        return f"{value:,.{digits}f} ± {stderr:.{digits}f}"
    return f"{value:,.{digits}f}"


def error_of(row: Row) -> float | None:
    """Return the standard error of a row of `metrics.csv`, None where it has none (NaN in a table)."""
    error = row["stderr"]
    return None if error is None or math.isnan(error) else float(error)


def finite(name: str, value: float | None, place: str) -> float:
    """Return `value`; raises `MarscfError` naming metric and place where it is missing, NaN or infinite."""
    if value is None or not math.isfinite(value):
        raise MarscfError(f"{place}: {name} is {value}, which is not a number; measure it again")
    return float(value)
