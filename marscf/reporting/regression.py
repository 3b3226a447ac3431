"""Measurements against the committed reference, cell by cell: worse, better, missing or new.

A cell is a number of one run. Chance can move it from the reference within
`K·sqrt(stderr² + stderr²) + floor`: the standard errors are over the test images, the floor (see
`marscf.reporting.metrics`) is what another training seed changes. Where the reference has several seeds of a
system, and it is more, within `K·sqrt(stderr² + stderr² + 2·spread²)`, with spread their standard deviation.
What cannot be chance fails whatever its size: another number of images, another protocol, an impossible
value, a standard error of another size. A gain that chance does not explain fails as well, as a mistake makes
one as easily as an improvement: until `marscf check --accept` says why.
"""

import math
import re
import statistics
from collections import defaultdict
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from marscf.reporting.metrics import Row, error_of, metric_of, pretty

if TYPE_CHECKING:
    import pandas

K = 3.0  # standard errors
FAILING = ("wrong", "worse", "doubtful", "missing")
SHOWN = (*FAILING, "new")


@dataclass(frozen=True)
class Cell:
    """One compared number: its verdict (wrong, worse, doubtful, missing, new, same, untracked), and why."""

    verdict: str
    name: str  # dataset/system/seed
    metric: str
    reference: str
    measured: str
    why: str


def compare(metrics: "pandas.DataFrame", reference: "pandas.DataFrame") -> list[Cell]:
    """Compare all cells; those that fail come first.

    A run is compared with the reference's run of the same seed, or where there is none, of another seed.
    """
    rows = reference.to_dict("records")
    spreads = _spreads(rows)
    pairs = _pairs(metrics.to_dict("records"), rows)
    cells = [_cell(pair, spreads.get(_key(pair.row), 0.0)) for pair in pairs]
    return sorted(cells, key=lambda cell: SHOWN.index(cell.verdict) if cell.verdict in SHOWN else len(SHOWN))


def _key(row: Row) -> tuple[str, ...]:
    return row["dataset"], row["system"], row["metric"]


def _spreads(rows: Sequence[Row]) -> dict[tuple[str, ...], float]:
    """The standard deviation over seeds of each number that was measured with several."""
    values = defaultdict(list)
    for row in rows:
        values[_key(row)].append(row["value"])
    return {key: statistics.stdev(found) for key, found in values.items() if len(found) > 1}


@dataclass(frozen=True)
class Pair:
    """A number's row in the measurements and in the reference, None where it is not there."""

    row: Row  # the first that is there
    new: Row | None
    old: Row | None


def _pairs(new: Sequence[Row], old: Sequence[Row]) -> Iterator[Pair]:
    groups: dict[tuple[str, ...], tuple[dict[int, Row], dict[int, Row]]] = {}
    for side, rows in enumerate((new, old)):
        for row in rows:
            groups.setdefault(_key(row), ({}, {}))[side][row["seed"]] = row
    for ours, theirs in groups.values():
        both = [(seed, seed) for seed in sorted(ours.keys() & theirs.keys())]
        both += zip(sorted(ours.keys() - theirs.keys()), sorted(theirs.keys() - ours.keys()), strict=False)
        for seed, other in both:
            row = ours.pop(seed)
            yield Pair(row, row, theirs.pop(other))
        yield from (Pair(row, row, None) for row in ours.values())
        yield from (Pair(row, None, row) for row in theirs.values())


def _cell(pair: Pair, spread: float) -> Cell:
    row = pair.row
    verdict, why = _verdict(pair, spread)
    name = f"{row['dataset']}/{row['system']}/seed{row['seed']}"
    return Cell(verdict, name, row["metric"], _text(pair.old), _text(pair.new), why)


def _text(row: Row | None) -> str:
    return "–" if row is None else pretty(row["metric"], row["value"], error_of(row))


def _verdict(pair: Pair, spread: float) -> tuple[str, str]:
    new, old, metric = pair.new, pair.old, metric_of(pair.row["metric"])
    if metric.better == "none" or (new is None and metric.by_speed):
        return "untracked", "depends on the machine"
    if new is None:
        return "missing", "was not measured"
    if new["value"] < metric.low:
        return "wrong", f"impossible: below {metric.low:g}"
    if old is None:
        return "new", "not in the reference"
    if new["n"] != old["n"]:
        return "worse", f"over n = {new['n']:,}, the reference over {old['n']:,}"
    if changed := _otherwise(new["protocol"], old["protocol"]):
        return "worse", f"measured otherwise: {changed}"
    if metric.better == "equal":
        return ("same", "") if new["value"] == old["value"] else ("worse", "must be equal")
    return _change(new, old, spread)


def _change(new: Row, old: Row, spread: float) -> tuple[str, str]:
    """The verdict on two values that were measured alike."""
    metric = metric_of(new["metric"])
    change = new["value"] - old["value"]
    if metric.better == "higher":
        change = -change
    sizes = [error_of(new) or 0.0, error_of(old) or 0.0]
    own = min(sizes[0], 1.5 * sizes[1]) if sizes[1] else sizes[0]  # an error that grew excuses no change
    error = 0.0 if metric.same_images else math.hypot(own, sizes[1])
    allowed = max(K * error + metric.floor(old["value"]), K * math.hypot(error, math.sqrt(2) * spread))
    amount = f"by {abs(change):.3g}, chance explains {allowed:.3g}"
    if max(sizes) > metric.errors_alike * min(sizes):
        return "worse", f"its standard error is {sizes[0]:.3g}, the reference's {sizes[1]:.3g}"
    if change > allowed:
        return "worse", amount
    if -change > allowed:
        return "doubtful", f"{amount}: better; a mistake, or accept it with a note"
    return "same", amount


def _otherwise(new: str, old: str) -> str:
    """The parts in which two protocols differ, apart from hashes, seeds and an extractor's accuracy."""
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


def aligned(lines: Sequence[tuple[str, ...]]) -> str:
    """Lines of cells as a Markdown table, its columns aligned."""
    widths = [max(len(line[column]) for line in lines) for column in range(len(lines[0]))]
    rows = [
        f"| {' | '.join(text.ljust(width) for text, width in zip(line, widths, strict=True))} |"
        for line in lines
    ]
    return "\n".join([rows[0], f"|{'|'.join('-' * (width + 2) for width in widths)}|", *rows[1:]])
