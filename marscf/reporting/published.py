"""Published numbers, and when a measured one can be compared with them.

A number is compared only where dataset, release, dimensions, images, bound, extractor and weights are the
same. It is a system's mean over its seeds; `reproduced` allows for another seed, on both sides. The test
images are those of the publishers, so their standard error plays no part.
"""

import csv
import math
import re
import statistics
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path

from marscf.config import load_config, resolve
from marscf.errors import ConfigError
from marscf.reporting.metrics import Row, error_of, metric_of, pretty, qualifier
from marscf.reporting.significance import SEEDS

#: The kinds of likelihood: the word in `published.csv`, and as printed.
BOUNDS = {
    "exact": "exact",
    "elbo-uniform": "ELBO, uniform dequantisation",
    "elbo-learned": "ELBO, learned dequantisation",
    "importance-weighted": "importance-weighted",
}

#: Systems and datasets of `published.csv` that are not run here: their names as printed.
TITLES = {
    **{"realnvp": "RealNVP", "ffjord": "FFJORD", "i-resnet": "i-ResNet", "pixelrnn": "PixelRNN"},
    "imagenet64": "ImageNet 64×64",
}

#: In brackets after a likelihood: it was measured as the weights' own code evaluates them.
AS_PUBLISHED = "as published"

FULL = ("paper", "published")  # the scales whose models are as large, and trained as long, as the published


@dataclass(frozen=True)
class Published:
    """One number of a paper. `text` is the value as printed there, with its digits.

    `images` and `dims` are None where no source says them: then nothing is ever compared with the number.
    """

    dataset: str
    release: str  # of the dataset, where there are several
    system: str
    metric: str
    text: str
    bound: str  # of a likelihood, a key of `BOUNDS`
    weights: str  # file of the released weights that the number is of; empty: of the paper's own training
    images: int | None  # it rests on: of the test set, or samples of a FID
    dims: int | None  # C·H·W of the images
    source: str
    note: str

    @property
    def value(self) -> float:
        """The number."""
        return float(self.text)

    @property
    def rounding(self) -> float:
        """Half a unit of the last printed digit."""
        return 0.5 * 10.0 ** -len(self.text.partition(".")[2])


@dataclass(frozen=True)
class Status:
    """How a measured number compares with a published one.

    `kind` is reproduced, short (worse than the tolerance allows), doubtful (better than is to be expected),
    undecided (another scale, or too few seeds to tell) or incomparable.
    """

    kind: str
    text: str


@cache
def published_numbers() -> tuple[Published, ...]:
    """Read `published.csv`."""
    with open(Path(__file__).with_name("published.csv"), newline="", encoding="utf-8") as stream:
        return tuple(_entry(row) for row in csv.DictReader(stream))


def _entry(row: dict[str, str]) -> Published:
    images, dims = (int(row[key]) if row[key] else None for key in ("images", "dims"))
    words = ("dataset", "release", "system", "metric", "bound", "weights", "source", "note")
    return Published(text=row["value"], images=images, dims=dims, **{key: row[key] for key in words})


def candidates(row: Row) -> list[Published]:
    """Published numbers of a measured row's system, metric and dataset, variants of the dataset included.

    Those of the same weights come first.
    """
    found = [
        entry
        for entry in published_numbers()
        if entry.system == row["system"]
        and entry.metric.partition("[")[0] == row["metric"].partition("[")[0]
        and _family(entry.dataset) == _family(row["dataset"])
    ]
    return sorted(found, key=lambda entry: entry.weights != imported(row))


def _family(dataset: str) -> str:
    return dataset.partition("-")[0]


def bound(row: Row) -> str:
    """The kind of a measured row's likelihood, from its protocol: a key of `BOUNDS`, or nothing."""
    kinds = {
        "importance-weighted": "importance-weighted",
        "variational dequantisation": "elbo-learned",
        "uniform dequantisation": "elbo-uniform",
        "exact": "exact",
    }
    return next((kind for words, kind in kinds.items() if words in row["protocol"]), "")


def imported(row: Row) -> str:
    """The file that a measured row's weights were imported from; nothing where they were trained here."""
    match = re.search(r"\bweights imported from ([^,]+)", row["protocol"])
    return match[1] if match else ""


def obstacle(row: Row, entry: Published) -> str | None:
    """Why a measured row cannot be compared with a published number, or None where it can."""
    if entry.images is None or entry.dims is None:
        return "its source does not say how it was measured"
    if row["dataset"] != entry.dataset:
        return f"measured on {row['dataset']}, published on {entry.dataset}"
    release = re.search(r"\brelease (\S+)$", row["protocol"])
    if entry.release and (release is None or release[1] != entry.release):
        return f"measured on release {release[1] if release else 'unknown'}, published on {entry.release}"
    if (origin := imported(row)) != entry.weights:
        ours = f"weights imported from {origin}" if origin else "trained here"
        return f"{ours}, published for {entry.weights or 'a training of its own'}"
    by, published_by = qualifier(row["metric"]), qualifier(entry.metric)
    if AS_PUBLISHED in (by, published_by):
        if by != published_by:
            ours, theirs = "our protocol", "the one of its code"
            return f"measured by {theirs if by else ours}, published by {theirs if published_by else ours}"
    elif by not in ("", "inception"):
        return f"measured with the extractor {by}, published with Inception"
    measured = re.search(r"\bdims (\d+)", row["protocol"])
    if measured and int(measured[1]) != entry.dims:
        return f"{measured[1]} dimensions, published on {entry.dims}"
    if int(row["n"]) != entry.images:
        return f"over {int(row['n']):,} images, published over {entry.images:,}"
    if entry.bound and bound(row) != entry.bound:
        return f"measured: {BOUNDS.get(bound(row), 'unknown bound')}, published: {BOUNDS[entry.bound]}"
    return None


def comparable(row: Row) -> Published | None:
    """The published number that a measured row can be compared with."""
    return next((entry for entry in candidates(row) if obstacle(row, entry) is None), None)


def over_seeds(rows: Iterable[Row]) -> list[list[Row]]:
    """Group measured rows: each list is one number, with one row per seed."""
    found: dict[tuple[str, ...], list[Row]] = {}
    for row in rows:
        key = (row["scale"], row["dataset"], row["system"], row["metric"], imported(row))
        found.setdefault(key, []).append(row)
    return list(found.values())


def status(rows: Sequence[Row], entry: Published) -> Status:
    """Compare a number, one row per seed of a system, with a published one.

    Only at the published size and length of training, or with imported weights, can it be `reproduced`. A
    number that is better than the published one is never praised: it needs a check.
    """
    row = rows[0]
    if reason := next((why for each in rows if (why := obstacle(each, entry))), None):
        return Status("incomparable", f"not comparable: {reason}")
    change = statistics.fmean(each["value"] for each in rows) - entry.value
    amount = f"{pretty(row['metric'], abs(change))} {'above' if change > 0 else 'below'}"
    better = change if metric_of(row["metric"]).better == "higher" else -change
    check = "check before you believe it"
    if not imported(row) and not _at_full_size(row):
        setting = f"scale {row['scale']}: not the published size and training"
        if better > entry.rounding:
            return Status("doubtful", f"{amount}, but not the same setting ({setting}); {check}")
        return Status("undecided", f"{amount}; {setting}")
    seeds = "imported weights" if imported(row) else _seeds(len(rows))
    allowed = tolerance(rows)
    if allowed is None:
        return Status("undecided", f"{amount}, {seeds}: it is not known how far another seed would be")
    allowed += entry.rounding
    detail = f"{seeds}, tolerance {pretty(row['metric'], allowed)}"
    if abs(change) <= allowed:
        return Status("reproduced", f"reproduced ({amount}; {detail})")
    if better > 0:
        return Status("doubtful", f"not reproduced: {amount}, better than published; {check} ({detail})")
    return Status("short", f"not reproduced: {amount} ({detail})")


def _at_full_size(row: Row) -> bool:
    """Whether a measured row is of a model and a training as at scale `paper`, at whichever scale."""
    if row["scale"] in FULL:
        return True
    try:
        own, full = (
            resolve(load_config(), scale, row["dataset"], row["system"], 0)
            for scale in (row["scale"], FULL[0])
        )
    except ConfigError:
        return False
    return (own.options, own.training, own.data) == (full.options, full.training, full.data)


def _seeds(count: int) -> str:
    return "one seed" if count == 1 else f"{count} seeds"


def tolerance(rows: Sequence[Row]) -> float | None:
    """How far a published number may be from the mean of `rows`, one row per seed; None where not known.

    The published number counts as one more seed. With `SEEDS` seeds or more: twice their standard deviation
    times √(1 + 1/n), the error of a prediction from their mean. With fewer: the metric's `another_seed`.
    Imported weights have no other seed: where the metric gives nothing, twice the error of the samples that
    it was measured on.
    """
    values = [row["value"] for row in rows]
    if len(values) >= SEEDS:
        return 2 * statistics.stdev(values) * math.sqrt(1 + 1 / len(values))
    known = metric_of(rows[0]["metric"]).another_seed
    error = error_of(rows[0])
    if known is None and imported(rows[0]) and error is not None:
        return 2 * error
    return known
