"""Runs beside each other: their numbers, and whether a difference is more than chance."""

from collections.abc import Sequence
from typing import Any

from marscf.errors import ConfigError
from marscf.reporting import sources
from marscf.reporting.collect import rows_of, run_here
from marscf.reporting.metrics import METRICS, Row, error_of, metric_of, pretty, title
from marscf.reporting.significance import difference, missing
from marscf.runs import Run

LEFT_OUT = ("train_images_per_second",)  # of machines, which may differ
UNMARKED = ("generalisation_gap", "bits_per_dim_train")  # the least alone is no merit


def compare(paths: Sequence[str]) -> list[list[str]]:
    """Return a table in words: a header, then a row per number, with a column for each run.

    Better numbers are marked with `<`, where all are over as many images; else the cells say how many. The
    last row is the difference of each run to the first in bits/dim, paired over the test images that both
    have, with its 95 % interval. Raises `ConfigError` for runs of several datasets, for fewer than two, and
    for one of another place than `data/runs`.
    """
    runs = [run_here(path) for path in paths]
    if len(set(runs)) < 2:
        raise ConfigError("RUN: give two different runs or more")
    if len(datasets := {run.dataset for run in runs}) > 1:
        raise ConfigError(f"numbers of {' and '.join(sorted(datasets))} cannot be compared")
    found = [{row["metric"]: row for row in rows_of(run)} for run in runs]
    names = sorted({name for rows in found for name in rows}, key=_place)
    table = [["", *map(_title, runs)]]
    table += [
        [title(name), *_cells([rows.get(name) for rows in found])] for name in names if name not in LEFT_OUT
    ]
    return [*table, ["bits/dim more than the first", "", *(_more(found[0], rows) for rows in found[1:])]]


def _place(name: str) -> tuple[int, str]:
    return list(METRICS).index(name.partition("[")[0]), name


def _title(run: Run) -> str:
    return f"{sources.system_title(run.system)}, {run.scale}, {sources.training_of(run)}"


def _cells(rows: Sequence[Row | None]) -> list[str]:
    """The values of one metric, the best of them marked."""
    known = [row for row in rows if row]
    name = known[0]["metric"]
    best = None if name in UNMARKED else {"lower": min, "higher": max}.get(metric_of(name).better)
    alike = len({row["n"] for row in known}) == 1
    marked = best(row["value"] for row in known) if best and alike and len(known) > 1 else None
    return [_cell(row, row["value"] == marked, bool(best) and not alike) if row else "–" for row in rows]


def _cell(row: Row, best: bool, counted: bool) -> str:
    number = f" (n = {row['n']:,})" if counted else ""
    return pretty(row["metric"], row["value"], error_of(row)) + number + " <" * best


def _more(first: dict[str, Any], other: dict[str, Any]) -> str:
    """By how much a run's bits/dim are above the first one's, and whether chance explains it."""
    rows = [run["bits_per_dim"] for run in (first, other) if "bits_per_dim" in run]
    if len(rows) < 2 or missing(rows):
        return "–"
    found = difference(rows[1:], rows[:1], common=True)
    words = "within" if abs(found.gain) <= found.reach else "more than"
    only = "" if rows[0]["n"] == rows[1]["n"] else f", first {found.images:,} images"
    return f"{-found.gain:+.4f} ± {found.reach:.4f} ({words} chance, one seed each{only})"


def text(table: Sequence[Sequence[str]]) -> str:
    """The table as lines for a terminal."""
    widths = [max(map(len, column)) for column in zip(*table, strict=True)]
    lines = ["  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)) for row in table]
    return "\n".join(line.rstrip() for line in lines)
