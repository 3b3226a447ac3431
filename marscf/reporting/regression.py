"""Measurements against the committed reference, cell by cell: worse, better, missing or new.

A cell is a number of one run. It may differ from the reference by chance, within
`K·sqrt(stderr² + stderr²) + floor`: the standard errors are of the test images, the floor (see
`marscf.reporting.metrics`) is what another training seed changes. Where the reference has several seeds of a
system and they tell more, `K·sqrt(stderr² + stderr² + 2·spread²)`, spread their standard deviation. What
cannot be chance fails whatever its size: another number of images, another protocol, a bound that no right
number passes. So does a gain too large to be believed, until `marscf check --accept` says what it comes of.
"""

import math
import re
import statistics
from collections import defaultdict
from collections.abc import Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from marscf.reporting.metrics import metric_of, pretty

if TYPE_CHECKING:
    import pandas

K = 3.0  # standard errors
FAILING = ("worse", "doubtful", "missing")
SHOWN = (*FAILING, "better", "new")

Row = dict[str, Any]


@dataclass(frozen=True)
class Cell:
    """One compared number: its verdict (worse, doubtful, missing, better, new, same, untracked), and why."""

    verdict: str
    name: str  # dataset/system/seed
    metric: str
    reference: str
    measured: str
    why: str


def compare(metrics: "pandas.DataFrame", reference: "pandas.DataFrame") -> list[Cell]:
    """Compare all cells; those that fail come first.

    A run is compared with the reference's run of its seed, or where there is none with that of another seed.
    """
    rows = reference.to_dict("records")
    spreads = _spreads(rows)
    cells = [
        _cell(new, old, spreads.get(_key(new or old), 0.0))
        for new, old in _pairs(metrics.to_dict("records"), rows)
    ]
    return sorted(cells, key=lambda cell: SHOWN.index(cell.verdict) if cell.verdict in SHOWN else len(SHOWN))


def _key(row: Row) -> tuple[str, ...]:
    return row["dataset"], row["system"], row["metric"]


def _spreads(rows: list[Row]) -> dict[tuple[str, ...], float]:
    """The standard deviation over seeds of each number that was measured with several."""
    values = defaultdict(list)
    for row in rows:
        values[_key(row)].append(row["value"])
    return {key: statistics.stdev(found) for key, found in values.items() if len(found) > 1}


def _pairs(new: list[Row], old: list[Row]) -> Iterator[tuple[Row | None, Row | None]]:
    groups: dict[tuple[str, ...], tuple[dict[int, Row], dict[int, Row]]] = {}
    for side, rows in enumerate((new, old)):
        for row in rows:
            groups.setdefault(_key(row), ({}, {}))[side][row["seed"]] = row
    for ours, theirs in groups.values():
        for seed in sorted(ours.keys() & theirs.keys()):
            yield ours.pop(seed), theirs.pop(seed)
        while ours and theirs:
            yield ours.pop(min(ours)), theirs.pop(min(theirs))
        yield from ((row, None) for row in ours.values())
        yield from ((None, row) for row in theirs.values())


def _cell(new: Row | None, old: Row | None, spread: float) -> Cell:
    row = new or old
    verdict, why = _verdict(new, old, spread)
    name = f"{row['dataset']}/{row['system']}/seed{row['seed']}"
    return Cell(verdict, name, row["metric"], _text(old), _text(new), why)


def _text(row: Row | None) -> str:
    return "–" if row is None else pretty(row["metric"], row["value"], _error(row) or None)


def _error(row: Row) -> float:
    return row["stderr"] if row["stderr"] == row["stderr"] else 0.0


def _verdict(new: Row | None, old: Row | None, spread: float) -> tuple[str, str]:
    metric = metric_of((new or old)["metric"])
    if metric.better == "none" or (new is None and metric.by_speed):
        return "untracked", "depends on the machine"
    if new is None:
        return "missing", "was not measured"
    if new["value"] < metric.low:
        return "worse", f"impossible: below {metric.low:g}"
    if old is None:
        return "new", "not in the reference"
    if new["n"] != old["n"]:
        return "worse", f"over n = {new['n']:,}, the reference over {old['n']:,}"
    if changed := _otherwise(new["protocol"], old["protocol"]):
        return "worse", f"measured otherwise: {changed}"
    change = new["value"] - old["value"]
    if metric.better == "equal":
        return ("same", "") if change == 0 else ("worse", "must be equal")
    if metric.better == "higher":
        change = -change
    errors = _error(new), _error(old)
    allowed = max(
        K * math.hypot(*errors) + metric.floor(old["value"]), K * math.hypot(*errors, math.sqrt(2) * spread)
    )
    amount = f"by {abs(change):.3g}, chance explains {allowed:.3g}"
    if change > allowed:
        return "worse", amount
    if -change > max(allowed, metric.leap * abs(old["value"])):
        return "doubtful", f"{amount}: too good; a mistake, or accept it with a note"
    return ("better", amount) if change < -allowed else ("same", amount)


def _otherwise(new: str, old: str) -> str:
    """The parts in which two protocols differ; hashes, seeds and an extractor's accuracy may."""
    parts = [[_plain(part) for part in text.split(", ")] for text in (new, old)]
    if parts[0] == parts[1]:
        return ""
    gone = [part for part in parts[1] if part not in parts[0]]
    come = [part for part in parts[0] if part not in parts[1]]
    return f"{', '.join(come) or 'nothing'} instead of {', '.join(gone) or 'nothing'}"


def _plain(text: str) -> str:
    text = re.sub(r"\b(?=[0-9a-f]*[0-9])[0-9a-f]{6,}\b", "#", text)
    return re.sub(r"\b(seed|accuracy) [\d.]+", r"\1", text)


def report(cells: list[Cell]) -> str:
    """The cells that differ as a table for a terminal or a pull request, and one line that counts all."""
    shown = [cell for cell in cells if cell.verdict in SHOWN]
    counts = {
        verdict: sum(cell.verdict == verdict for cell in cells) for verdict in (*SHOWN, "same", "untracked")
    }
    total = ", ".join(f"{count} {verdict}" for verdict, count in counts.items() if count)
    if not shown:
        return f"{total}."
    head = ("verdict", "run", "metric", "reference", "measured", "why")
    lines = [head, *((c.verdict, c.name, c.metric, c.reference, c.measured, c.why) for c in shown)]
    return f"{aligned(lines)}\n\n{total}."


def aligned(lines: list[tuple[str, ...]]) -> str:
    """Lines of cells as a Markdown table, its columns aligned."""
    widths = [max(len(line[column]) for line in lines) for column in range(len(lines[0]))]
    rows = [
        f"| {' | '.join(text.ljust(width) for text, width in zip(line, widths, strict=True))} |"
        for line in lines
    ]
    return "\n".join([rows[0], f"|{'|'.join('-' * (width + 2) for width in widths)}|", *rows[1:]])
