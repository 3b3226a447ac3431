"""The report's tables: what a cell says, its value as a number, and the run that it comes from."""

import csv
import html
import io
import re
import statistics
from collections.abc import Container, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from marscf.config import load_config
from marscf.errors import MarscfError
from marscf.files import replacing
from marscf.reporting import published, sources
from marscf.reporting.collect import REAL
from marscf.reporting.metrics import error_of, names_of, pretty, title

if TYPE_CHECKING:
    import pandas

STYLE = """body{font:15px/1.5 system-ui,sans-serif;margin:2rem;max-width:70rem}
table{border-collapse:collapse}th,td{padding:.3em .8em;text-align:left;border-bottom:1px solid #8886}
.number{text-align:right}td.number{font-variant-numeric:tabular-nums;white-space:nowrap}small{opacity:.75}
:root{color-scheme:light dark}"""


#: The best and the worst that a number can be, and their words in the status column.
SANITY = {
    REAL: "real against real images: what a perfect model would get",
    "histogram": "each pixel drawn by itself: what every model should beat",
}
INDEX = "../index.html"  # the page, from a saved table or an executed notebook


@dataclass(frozen=True)
class Cell:
    """What is printed; `value` is for the CSV; `run` is where it links to; `note` is the protocol."""

    text: str
    value: Any = None
    run: str | None = None
    note: str = ""
    kind: str = ""  # number, or the kind of a `published.Status`


@dataclass
class Table:
    """Named columns of cells, with a caption. Where there is no room, the columns `details` can be folded."""

    caption: str
    columns: Sequence[str]
    rows: list[list[Cell]] = field(default_factory=list)
    details: Container[str] = ()

    def html(self) -> str:
        """The table as an HTML fragment; numbers link to their runs on the page."""
        numbers = [any(cell.kind == "number" for cell in column) for column in zip(*self.rows, strict=True)]
        numbers = numbers or [False] * len(self.columns)
        head = "".join(
            f"<th scope=col{self._kinds(name, 'number' * number)}>{html.escape(name)}</th>"
            for name, number in zip(self.columns, numbers, strict=True)
        )
        body = "".join(f"<tr>{''.join(map(self._cell, self.columns, row))}</tr>\n" for row in self.rows)
        caption = f"<caption>{html.escape(self.caption)}</caption>"
        return f"<table>{caption}\n<thead><tr>{head}</tr></thead>\n<tbody>\n{body}</tbody></table>"

    def _kinds(self, column: str, kind: str) -> str:
        kinds = [kind] * bool(kind) + ["detail"] * (column in self.details)
        return f' class="{" ".join(kinds)}"' if kinds else ""

    def _cell(self, column: str, cell: Cell) -> str:
        text = html.escape(cell.text)
        if cell.run:
            text = f'<a href="{INDEX}#{html.escape(cell.run)}">{text}</a>'
        title_ = f' title="{html.escape(cell.note)}"' if cell.note else ""
        value = f' data-value="{cell.value!r}"' if isinstance(cell.value, int | float) else ""
        name = f' data-name="{html.escape(column)}"'
        return f"<td{self._kinds(column, cell.kind)}{name}{value}{title_}>{text}</td>"

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


def save(table: Table, out: str | Path) -> Table:
    """Write `out.csv` and `out.html` (a page of its own) and return the table."""
    page = (
        f"<!doctype html><html lang=en><meta charset=utf-8><meta name=viewport content='width=device-width'>"
        f"<title>{html.escape(table.caption)}</title><style>{STYLE}</style>\n{table.html()}\n</html>\n"
    )
    for suffix, text in ((".csv", table.csv()), (".html", page)):
        with replacing(f"{out}{suffix}") as temporary:
            temporary.write_text(text, encoding="utf-8")
    return table


def saved(path: Path) -> tuple[str, str]:
    """Read a saved table for the page: its caption and the rest of its HTML, with links within the page."""
    text = path.read_text(encoding="utf-8").replace(f'href="{INDEX}#', 'href="#')
    found = re.search(r"<table><caption>(.*?)</caption>(.*</table>)", text, re.DOTALL)
    if not found:
        raise MarscfError(f"{path} is not a table of this version; delete it and run the workflow again")
    return html.unescape(found[1]), f"<table>{found[2]}"


def anchor(row: Any) -> str:
    """The place of a row's run on the page."""
    return f"run-{row['dataset']}-{row['system']}-seed{row['seed']}"


def number(rows: Sequence[Any]) -> Cell:
    """A value ± its standard error; of several seeds, one row each, the mean ± standard deviation."""
    row, values = rows[0], [row["value"] for row in rows]
    metric, mean = row["metric"], statistics.fmean(values)
    note = f"{row['protocol']}; n = {row['n']:,}"
    if len(rows) > 1:
        note = f"mean ± standard deviation of {len(rows)} seeds; {note}"
        return Cell(pretty(metric, mean, statistics.stdev(values)), mean, anchor(row), note, "number")
    return Cell(pretty(metric, mean, error_of(row)), mean, anchor(row), note, "number")


def _status(rows: Sequence[Any]) -> list[Cell]:
    """The cells published, source, status of a number, which has one row per seed."""
    row = rows[0]
    entries = published.candidates(row)
    if not entries:
        nothing = "nothing published" if sources.in_paper(row["system"]) else "not in the paper"
        words = SANITY.get(row["system"], nothing)
        return [Cell("–", ""), Cell("–", ""), Cell(words, kind="incomparable")]
    best = published.comparable(row) or entries[0]
    state = published.status(rows, best)
    if state.kind == "incomparable":  # its number must not be in the column
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


def _run_table(metrics: "pandas.DataFrame", caption: str, shown: Sequence[str]) -> Table:
    """One row per run that has the first metric of `shown`, with the others where it has them.

    Below the seeds of a system is the row of their mean. Its first metric is compared with published numbers,
    or where it cannot be, the same as the weights' own code measures it. Imported weights are not seeds: each
    file has its row, and there is no mean.
    """
    if not shown:
        return Table(caption, ["dataset", "system"])
    main, caption = shown[0], caption + sources.explained(metrics["system"].unique())
    origins = {name for row in metrics.to_dict("records") if (name := published.imported(row))}
    seeds = metrics["seed"].nunique() > 1 or bool(origins)
    columns = ["dataset", "system", *(["weights" if origins else "seed"] if seeds else []), title(main)]
    others, details = shown[1:], [*map(title, shown[1:]), "source"]
    likes = [name for name in shown if name.partition("[")[0] == main.partition("[")[0]]
    table = Table(caption, [*columns, "published", "status", *details], details=details)

    def add(rows: "pandas.DataFrame", seed: Cell, last: list[Cell] | None = None) -> None:
        by_metric = {name: found.to_dict("records") for name, found in rows.groupby("metric")}
        cells = [*_names(by_metric[main][0]), *([seed] if seeds else []), number(by_metric[main])]
        rest = [number(by_metric[name]) if name in by_metric else Cell("–", "") for name in others]
        of = [by_metric[name] for name in likes if name in by_metric]
        compared = next((own for own in of if published.comparable(own[0])), of[0])
        value, source, status = last or _status(compared)
        table.rows.append([*cells, value, status, *rest, source])

    for _, rows in metrics.groupby(["dataset", "system"], sort=False):
        by_seed = [own for _, own in rows.groupby("seed") if main in set(own["metric"])]
        several = len(by_seed) > 1 and not origins
        blank = [Cell("–", ""), Cell("–", ""), Cell("see the mean over the seeds", kind="incomparable")]
        for own in by_seed:
            seed = int(own["seed"].iloc[0])
            name = published.imported(own.iloc[0].to_dict()) or ("–" if origins else str(seed))
            add(own, Cell(name, name if origins else seed), blank if several else None)
        if several:
            add(rows, Cell(f"mean of {len(by_seed)} seeds", "mean"))
    return table


def likelihood(metrics: "pandas.DataFrame") -> Table:
    """Bits/dim of every run, with the published numbers."""
    caption = (
        "Bits per dimension of the test images (lower is better), ± standard error over the images"
        "; a mean over seeds ± their standard deviation"
    )
    return _run_table(metrics, caption, names_of("likelihood", metrics["metric"]))


def fidelity(metrics: "pandas.DataFrame") -> Table:
    """FID, KID, Inception score, precision, recall of every run, and of real images against real images."""
    caption = (
        "Samples against real images: FID and KID (lower is better); inception score, precision (samples "
        "among the real images) and recall (real images among the samples) (higher is better)"
    )
    shown = names_of("fidelity", metrics["metric"])
    trained = metrics.loc[metrics["metric"] == "parameters", "dataset"]  # sampling may be timed on another
    without = set(trained) - set(metrics.loc[metrics["metric"].isin(shown), "dataset"])
    if without:
        caption += f". Not of {', '.join(sorted(map(sources.dataset_title, without)))}: no extractor"
    return _run_table(metrics, caption, shown)


def published_numbers(metrics: "pandas.DataFrame") -> Table:
    """Every published number that the project knows of, and how what was measured compares."""
    caption = "Published numbers, and what was measured at this scale"
    columns = ["dataset", "system", "metric", "published", "bound", "source", "note", "measured", "status"]
    table = Table(caption, columns)
    scale = metrics["scale"].iloc[0]
    measured = published.over_seeds(metrics.to_dict("records"))
    for entry in published.published_numbers():
        names = _names({"dataset": entry.dataset, "system": entry.system})
        names = [replace(cell, text=published.TITLES.get(cell.value, cell.text)) for cell in names]
        cells = [*names, Cell(title(entry.metric)), Cell(entry.text, entry.value, kind="number")]
        cells += [Cell(published.BOUNDS.get(entry.bound, "–")), Cell(entry.source), Cell(entry.note)]
        found = [
            rows
            for rows in measured
            if entry in published.candidates(rows[0]) and (published.imported(rows[0]) or not entry.weights)
        ]
        found.sort(key=lambda rows: published.obstacle(rows[0], entry) is not None)
        if found:
            state = published.status(found[0], entry)
            cells += [number(found[0]), Cell(state.text, kind=state.kind)]
        else:
            cells += [Cell("–", ""), Cell(_not_measured(entry, scale), kind="incomparable")]
        table.rows.append(cells)
    return table


def _not_measured(entry: published.Published, scale: str) -> str:
    """Why there is no measured number to compare with a published one."""
    known = load_config()
    for kind, name, names in (
        ("system", entry.system, known.systems),
        ("dataset", entry.dataset, known.datasets),
    ):
        if name not in names:
            return f"not a {kind} of this benchmark"
    if entry.weights and not known.scale(scale).published:
        return "of released weights: see scale published"
    return f"not measured at scale {scale}"
