"""Published numbers, and when a measured one may stand beside them."""

import csv
import re
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

from marscf.reporting.metrics import metric_of, pretty, qualifier


@dataclass(frozen=True)
class Published:
    """One number of a paper. `text` is the value as printed there, with its digits."""

    dataset: str
    release: str  # of the dataset, where there are several
    system: str
    metric: str
    text: str
    images: int  # it rests on: of the test set, or samples of a FID
    dims: int  # C·H·W of the images
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
    """How a measured number stands to a published one: reproduced, better, short, incomparable."""

    kind: str
    text: str


@cache
def published_numbers() -> tuple[Published, ...]:
    """Read `published.csv`."""
    with open(Path(__file__).with_name("published.csv"), newline="") as stream:
        return tuple(
            Published(
                *(row[key] for key in ("dataset", "release", "system", "metric", "value")),
                *(int(row[key]) for key in ("images", "dims")),
                *(row[key] for key in ("source", "note")),
            )
            for row in csv.DictReader(stream)
        )


def candidates(row: Mapping[str, Any]) -> list[Published]:
    """Published numbers of a measured row's system, metric and dataset, variants of the dataset included."""
    return [
        entry
        for entry in published_numbers()
        if entry.system == row["system"]
        and entry.metric == row["metric"].partition("[")[0]
        and _family(entry.dataset) == _family(row["dataset"])
    ]


def _family(dataset: str) -> str:
    return dataset.partition("-")[0]


def obstacle(row: Mapping[str, Any], entry: Published) -> str | None:
    """Why a measured row cannot be compared with a published number, or None where it can."""
    extractor = qualifier(row["metric"])
    if extractor not in ("", "inception"):
        return f"measured with the extractor {extractor}, published with Inception"
    if row["dataset"] != entry.dataset:
        return f"measured on {row['dataset']}, published on {entry.note or entry.dataset}"
    release = re.search(r"\brelease (\S+)$", row["protocol"])
    if entry.release and (release is None or release[1] != entry.release):
        return f"measured on release {release[1] if release else 'unknown'}, published on {entry.release}"
    measured = re.search(r"\bdims (\d+)", row["protocol"])
    if measured and int(measured[1]) != entry.dims:
        return f"{measured[1]} dimensions, published on {entry.dims} ({entry.note})"
    if int(row["n"]) != entry.images:
        return f"over {int(row['n']):,} images, published over {entry.images:,}"
    return None


def comparable(row: Mapping[str, Any]) -> Published | None:
    """The published number that a measured row can be compared with."""
    return next((entry for entry in candidates(row) if obstacle(row, entry) is None), None)


def status(row: Mapping[str, Any], entry: Published) -> Status:
    """Compare a measured row with a published number, within two standard errors and the print's rounding.

    At scales other than `paper` the words say that the model is smaller and trained for less.
    """
    if reason := obstacle(row, entry):
        return Status("incomparable", f"not comparable: {reason}")
    error = row["stderr"] if row["stderr"] == row["stderr"] and row["stderr"] else 0.0
    sign = -1 if metric_of(row["metric"]).better == "higher" else 1
    short = sign * (row["value"] - entry.value)
    amount = pretty(row["metric"], abs(short))
    scale = "" if row["scale"] == "paper" else f" (scale {row['scale']}: smaller model, less training)"
    if short > 2 * error + entry.rounding:
        return Status("short", f"short by {amount}{scale}")
    if short < -2 * error - entry.rounding:
        return Status("better", f"better by {amount}{scale}")
    return Status("reproduced", f"reproduced{scale}")
