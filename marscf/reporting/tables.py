"""The report's tables: what a cell says, what it is worth as a number, and which run it comes from."""

import csv
import html
import io
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from marscf.files import replacing
from marscf.reporting import published, sources
from marscf.reporting.collect import REAL
from marscf.reporting.metrics import pretty, title

if TYPE_CHECKING:
    import pandas

STYLE = """body{font:15px/1.5 system-ui,sans-serif;margin:2rem;max-width:70rem}
table{border-collapse:collapse}th,td{padding:.3em .8em;text-align:left;border-bottom:1px solid #8886}
.number{text-align:right}td.number{font-variant-numeric:tabular-nums;white-space:nowrap}small{opacity:.75}
:root{color-scheme:light dark}"""


#: The rows that every number lies between, and what they say.
SANITY = {
    REAL: "real against real images: what a perfect model would get",
    "histogram": "each pixel drawn by itself: what every model should beat",
}
FIDELITY = ("fid", "kid", "inception_score", "precision", "recall")


@dataclass(frozen=True)
class Cell:
    """What is printed; `value` is what the CSV holds; `run` links to the run; `note` is the protocol."""

    text: str
    value: Any = None
    run: str | None = None
    note: str = ""
    kind: str = ""  # number, or a status: reproduced, better, short, incomparable


@dataclass
class Table:
    """Named columns of cells, with a caption."""

    caption: str
    columns: Sequence[str]
    rows: list[list[Cell]] = field(default_factory=list)

    def html(self, link: bool = False) -> str:
        """The table as an HTML fragment; with `link`, numbers point to `#<run>`, and no caption is in it."""
        numbers = [any(cell.kind == "number" for cell in column) for column in zip(*self.rows, strict=True)]
        head = "".join(
            f"<th scope=col{' class=number' * number}>{html.escape(name)}</th>"
            for name, number in zip(self.columns, numbers or [False] * len(self.columns), strict=True)
        )
        body = "".join(f"<tr>{''.join(_cell(cell, link) for cell in row)}</tr>\n" for row in self.rows)
        caption = "" if link else f"<caption>{html.escape(self.caption)}</caption>"
        return f"<table>{caption}\n<thead><tr>{head}</tr></thead>\n<tbody>\n{body}</tbody></table>"

    def _repr_html_(self) -> str:  # in a notebook
        return self.html()

    def csv(self) -> str:
        """The table as CSV: numbers in full, not as printed."""
        text = io.StringIO(newline="")
        writer = csv.writer(text, lineterminator="\n")
        writer.writerow(self.columns)
        for row in self.rows:
            values = [cell.text if cell.value is None else cell.value for cell in row]
            writer.writerow([repr(v) if isinstance(v, float) else v for v in values])
        return text.getvalue()


def _cell(cell: Cell, link: bool) -> str:
    text = html.escape(cell.text)
    if link and cell.run:
        text = f'<a href="#{html.escape(cell.run)}">{text}</a>'
    title_ = f' title="{html.escape(cell.note)}"' if cell.note else ""
    kind = f' class="{cell.kind}"' if cell.kind else ""
    return f"<td{kind}{title_}>{text}</td>"


def save(table: Table, out: str | Path) -> Table:
    """Write `out.csv` and `out.html` (a page of its own) and return the table."""
    page = (
        f"<!doctype html><html lang=en><meta charset=utf-8><meta name=viewport content='width=device-width'>"
        f"<title>{html.escape(table.caption)}</title><style>{STYLE}</style>\n{table.html()}\n</html>\n"
    )
    for suffix, text in ((".csv", table.csv()), (".html", page)):
        with replacing(f"{out}{suffix}") as temporary:
            temporary.write_text(text)
    return table


def anchor(row: Any) -> str:
    """The place of a row's run on the page."""
    return f"run-{row['dataset']}-{row['system']}-seed{row['seed']}"


def _number(row: Any) -> Cell:
    """A measured value; the standard error may be NaN where it has none."""
    error = row["stderr"] if row["stderr"] == row["stderr"] else None
    note = f"{row['protocol']}; n = {row['n']:,}"
    return Cell(pretty(row["metric"], row["value"], error), row["value"], anchor(row), note, "number")


def _status(row: Any) -> list[Cell]:
    """The cells published, source, status of a measured row."""
    entries = published.candidates(row)
    if not entries:
        words = SANITY.get(row["system"], "nothing published")
        return [Cell("–", ""), Cell("–", ""), Cell(words, kind="incomparable")]
    best = published.comparable(row) or entries[0]
    state = published.status(row, best)
    if state.kind == "incomparable":  # then its number does not stand in the column
        return [Cell("–", ""), Cell(best.source), Cell(f"{state.text} ({best.text} there)", kind=state.kind)]
    return [
        Cell(best.text, best.value, kind="number"),
        Cell(best.source, note=best.note),
        Cell(state.text, kind=state.kind),
    ]


def _names(row: Any) -> list[Cell]:
    return [
        Cell(sources.dataset_title(row["dataset"]), row["dataset"]),
        Cell(sources.system_title(row["system"]), row["system"]),
    ]


def _by_run(metrics: "pandas.DataFrame") -> Iterable[dict[str, Any]]:
    """Yield each run's rows by metric, in the order of `metrics.csv`."""
    for _, rows in metrics.groupby(["dataset", "system", "seed"], sort=False):
        yield {row["metric"]: row for row in rows.to_dict("records")}


def _run_table(
    metrics: "pandas.DataFrame", caption: str, main: str, others: Sequence[str], status_of: str
) -> Table:
    """One row a run that has the metric `main`, with the others where it has them."""
    seeds = metrics["seed"].nunique() > 1
    present = set(metrics["metric"])
    shown = [name for name in (main, *others) if name in present]
    columns = ["dataset", "system", *(["seed"] if seeds else []), *map(title, shown)]
    table = Table(caption, [*columns, "published", "source", "status"])
    for by_metric in _by_run(metrics):
        if main not in by_metric:
            continue
        row = by_metric[main]
        cells = _names(row) + ([Cell(str(row["seed"]), row["seed"])] if seeds else [])
        cells += [_number(by_metric[name]) if name in by_metric else Cell("–", "") for name in shown]
        table.rows.append(cells + _status(by_metric[status_of]))
    table.rows += _spreads(metrics, main, shown) if seeds else []
    return table


def _spreads(metrics: "pandas.DataFrame", main: str, shown: Sequence[str]) -> Iterable[list[Cell]]:
    """Yield a row for each system with several seeds: mean and standard deviation over them."""
    for _, rows in metrics[metrics["metric"].isin(shown)].groupby(["dataset", "system"], sort=False):
        count = rows["seed"].nunique()
        if count < 2 or main not in set(rows["metric"]):
            continue
        values = {metric: found["value"] for metric, found in rows.groupby("metric")}
        cells = [
            Cell(pretty(name, values[name].mean(), values[name].std()), values[name].mean(), kind="number")
            if name in values
            else Cell("–", "")
            for name in shown
        ]
        status = Cell("mean ± standard deviation over the seeds", kind="incomparable")
        names = _names(rows.iloc[0])
        yield [*names, Cell(f"{count} seeds", "mean"), *cells, Cell("–", ""), Cell("–", ""), status]


def likelihood(metrics: "pandas.DataFrame") -> Table:
    """Bits/dim of every run, with the published numbers."""
    others = ["bits_per_dim_iw", "nats_per_image", "parameters", "train_minutes"]
    caption = "Bits per dimension of the test images (lower is better), ± standard error over the images"
    return _run_table(metrics, caption, "bits_per_dim", others, "bits_per_dim")


def fidelity(metrics: "pandas.DataFrame") -> Table:
    """FID, KID, Inception score, precision, recall of every run, and of real images against real images."""
    present = list(dict.fromkeys(metrics["metric"]))
    names = [name for kind in FIDELITY for name in present if name.partition("[")[0] == kind]
    caption = (
        "Samples against real images: FID and KID (lower is better); inception score, precision (samples "
        "among the real images) and recall (real images among the samples) (higher is better)"
    )
    if not names:
        return Table(caption, ["dataset", "system"])
    return _run_table(metrics, caption, names[0], names[1:], names[0])


def published_numbers(metrics: "pandas.DataFrame", scale: str) -> Table:
    """Every published number that the project knows of, and how what was measured stands to it."""
    caption = "Published numbers, and what was measured at this scale"
    table = Table(caption, ["dataset", "system", "metric", "published", "source", "measured", "status"])
    rows = metrics.to_dict("records")
    for entry in published.published_numbers():
        names = {"dataset": entry.dataset, "system": entry.system}
        cells = [*_names(names), Cell(title(entry.metric)), Cell(entry.text, entry.value, kind="number")]
        cells.append(Cell(entry.source, note=entry.note))
        found = [row for row in rows if entry in published.candidates(row)]
        found.sort(key=lambda row: published.obstacle(row, entry) is not None)
        if found:
            state = published.status(found[0], entry)
            cells += [_number(found[0]), Cell(state.text, kind=state.kind)]
        else:
            cells += [Cell("–", ""), Cell(f"not measured at scale {scale}", kind="incomparable")]
        table.rows.append(cells)
    return table
