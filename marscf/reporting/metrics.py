"""What each number of `metrics.csv` is: its title, its good direction, and how far chance moves it.

A metric's name may carry what it was measured with or at in brackets: `fid[digits-net]`, `sampling_ms[32]`.
"""

import math
from dataclasses import dataclass

from marscf.errors import MarscfError

COLUMNS = [
    *("scale", "dataset", "system", "seed", "metric", "value", "stderr", "n", "protocol"),
    *("published", "published_source"),
]


@dataclass(frozen=True)
class Metric:
    """A kind of number.

    `better` is lower, higher, equal (any change is a regression) or none (shown, never compared: timings).
    Two measurements of one thing differ by chance within `k·standard error + floor`, with
    `floor = max(relative·|value|, absolute)`: what another training seed changes, which the standard error
    over test images does not know of. `low` is a bound that no right number passes; a gain above
    `leap·|value|` is sooner a mistake than progress, until someone says why it is none. `another_seed` is how
    far from a published number one training, or two, may end and still have reproduced it; None where
    nothing is known of that.
    """

    title: str
    better: str
    relative: float = 0.0
    absolute: float = 0.0
    digits: int = 3  # after the decimal point, where there is no standard error to go by
    low: float = -math.inf
    leap: float = math.inf
    by_speed: bool = False  # measured only where the machine is fast enough
    another_seed: float | None = None

    def floor(self, value: float) -> float:
        """The allowance for another seed."""
        return max(self.relative * abs(value), self.absolute)


# P(image) ≤ 1, so less than 0 bits is a wrong log-determinant and no good model. That of a flow trained for
# a short while leaves the number above 0, but too good.
# `another_seed`: no paper here prints a spread over seeds; in two decimals, 0.01 is the least difference.
LIKELIHOOD = {"better": "lower", "relative": 0.02, "low": 0.0, "leap": 0.2}
METRICS = {
    "bits_per_dim": Metric("bits/dim", **LIKELIHOOD, absolute=0.01, another_seed=0.01),
    "bits_per_dim_iw": Metric("bits/dim, importance-weighted", **LIKELIHOOD, absolute=0.01),
    "nats_per_image": Metric("nats/image", **LIKELIHOOD, absolute=0.5, digits=1),
    "fid": Metric("FID", "lower", relative=0.3, absolute=2.0, digits=1),
    "kid": Metric("KID", "lower", relative=0.3, absolute=0.02, digits=4),
    "inception_score": Metric("IS", "higher", relative=0.1, absolute=0.1, digits=2, low=0.0),
    "precision": Metric("precision", "higher", absolute=0.15, low=0.0),
    "recall": Metric("recall", "higher", absolute=0.15, low=0.0),
    "parameters": Metric("parameters", "equal", digits=0),
    "sequential_steps": Metric("sequential steps", "equal", digits=0, by_speed=True),
    "images_seen": Metric("images seen in training", "none", digits=0),
    "train_minutes": Metric("training minutes", "none", digits=1),
    "train_images_per_second": Metric("training images/s", "none", digits=0),
    "sampling_ms": Metric("sampling ms", "none", digits=1),
}


def metric_of(name: str) -> Metric:
    """Return what `name` is, or a metric that is shown and never compared where it is not known."""
    return METRICS.get(name.partition("[")[0], Metric(name, "none"))


def qualifier(name: str) -> str:
    """Return what stands in the brackets of a metric's name, or nothing."""
    return name.partition("[")[2].rstrip("]")


def title(name: str) -> str:
    """Return a metric's title, with what it was measured by: `FID (digits-net)`."""
    own = qualifier(name)
    return f"{metric_of(name).title} ({own})" if own else metric_of(name).title


def pretty(name: str, value: float, stderr: float | None = None) -> str:
    """Format a value with its standard error, to the digits that the error leaves meaning to."""
    digits = metric_of(name).digits
    if stderr and math.isfinite(stderr):
        digits = max(0, 1 - math.floor(math.log10(stderr)))
        return f"{value:,.{digits}f} ± {stderr:.{digits}f}"
    return f"{value:,.{digits}f}"


def finite(name: str, value: float, place: str) -> float:
    """Return `value`; raises `MarscfError` naming metric and place where it is NaN or infinite."""
    if value is None or not math.isfinite(value):
        raise MarscfError(
            f"{place}: {name} is {value}; a number that is not one is an error, measure it again"
        )
    return float(value)
