"""The committed reference: what it says beside published numbers, and how measurements become it."""

import contextlib
import datetime
import json
import shutil
from pathlib import Path
from typing import Any

import pandas

from marscf.errors import MarscfError
from marscf.files import replacing
from marscf.reporting.published import candidates, over_seeds, status
from marscf.reporting.regression import Cell, aligned, report
from marscf.reporting.tables import number
from marscf.runs import RECEIPT, Run, read_receipt

REFERENCE = Path("reports/reference")
NOTES = "NOTES.md"
PROVENANCE = "provenance.json"


def against_published(metrics: pandas.DataFrame) -> str:
    """A table of every measured number that something is published about, with its status."""
    lines: list[tuple[str, ...]] = [("system", "metric", "measured", "published", "status")]
    records: list[dict[str, Any]] = metrics.to_dict("records")  # type: ignore[assignment]  # columns are named
    for rows in over_seeds(records):
        name, metric = f"{rows[0]['dataset']}/{rows[0]['system']}", rows[0]["metric"]
        for entry in candidates(rows[0]):
            lines.append((name, metric, number(rows).text, entry.text, status(rows, entry).text))
    return aligned(lines) if len(lines) > 1 else ""


def accept(note: str, cells: list[Cell], metrics: pandas.DataFrame, measured: Path, reference: Path) -> None:
    """Make `measured` the reference and keep the note, with the cells that changed.

    Beside it go the sweep and the pictures of the same report, and of each run its receipt. Raises
    `MarscfError` for an empty note and for a wrong number, which no note excuses.
    """
    if not note.strip():
        raise MarscfError("--accept: say in a few words why the reference changes")
    for cell in cells:
        if cell.verdict == "wrong":
            raise MarscfError(f"{cell.name}: {cell.metric} is wrong: {cell.why}; correct it first")
    notes = reference.with_name(NOTES)
    before = (
        notes.read_text(encoding="utf-8")
        if notes.is_file()
        else f"# Changes of the reference, scale {reference.parent.name}\n"
    )
    today = datetime.datetime.now(datetime.UTC).date().isoformat()
    texts = {
        notes: f"{before}\n## {today}: {note.strip()}\n\n{report(cells)}\n",
        reference: measured.read_text(encoding="utf-8"),
        reference.with_name(PROVENANCE): json.dumps(provenance(metrics), indent=1, allow_nan=False) + "\n",
    }
    report_folder = measured.parent
    with contextlib.ExitStack() as stack:  # all are written before the first is renamed, or none is
        for path in (*report_folder.glob("sampling_speed.*"), *report_folder.glob("figures/*.png")):
            target = reference.parent / path.relative_to(report_folder)
            shutil.copyfile(path, stack.enter_context(replacing(target)))
        for path, text in texts.items():
            stack.enter_context(replacing(path)).write_text(text, encoding="utf-8")


def provenance(metrics: pandas.DataFrame) -> dict[str, Any]:
    """The receipts of the runs that were measured, by their folders."""
    names = metrics[["scale", "dataset", "system", "seed"]].drop_duplicates().itertuples(index=False)
    receipts = [Run(*row).path / RECEIPT for row in names]
    return {str(path.parent): read_receipt(path.parent) for path in receipts if path.is_file()}
