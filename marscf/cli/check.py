"""`marscf check`: did a number get worse than the committed reference?"""

import argparse
import datetime
import shutil
from pathlib import Path
from typing import TYPE_CHECKING, Any

from marscf.errors import MarscfError
from marscf.files import read_json, replacing, write_json
from marscf.runs import RECEIPT, Run

if TYPE_CHECKING:
    import pandas

    from marscf.reporting.regression import Cell

REFERENCE = Path("reports/reference")
NOTES = "NOTES.md"
PROVENANCE = "provenance.json"


def configure(parser: argparse.ArgumentParser) -> None:
    """Add the arguments of `marscf check`."""
    parser.add_argument("--scale", help="a file in config/scales (default: that of config/config.yaml)")
    for kind in ("systems", "datasets"):
        parser.add_argument(
            f"--{kind}",
            metavar="A,B",
            type=lambda text: text.split(","),
            help=f"compare no other {kind}",
        )
    parser.add_argument(
        "--accept", metavar="NOTE", help="make these measurements the reference; NOTE says why, and is kept"
    )
    parser.epilog = """examples:
  marscf check --scale quick
  marscf check --scale laptop --systems glow,marscf-affine
  marscf check --accept "MixLogCDF inverts in float64: FID better by 3"

Compares reports/SCALE/metrics.csv with reports/reference/SCALE/metrics.csv, cell by cell. A cell is worse
where it is off by more than three standard errors of the difference and an allowance for another training
seed, or the spread of the reference's own seeds where that is more; where it was measured on another number
of images or otherwise; or where it is impossible. It is doubtful where bits/dim fell by more than a fifth, as
a wrong log-determinant makes them fall. Timings are not compared. Exit code 1 where a cell is worse, doubtful
or missing."""


def run(args: argparse.Namespace) -> int:
    """Print what differs and return 1 where a cell fails."""
    from marscf.config import load_config, read_yaml
    from marscf.reporting.collect import REAL, read_metrics, reports
    from marscf.reporting.regression import FAILING, compare, report

    scale = args.scale or read_yaml("config/config.yaml")["scale"]
    load_config().scale(scale)
    measured = reports(scale) / "metrics.csv"
    metrics, reference = read_metrics(measured), REFERENCE / scale / "metrics.csv"
    if not reference.is_file() and args.accept is None:
        raise MarscfError(f"no {reference} to compare with; make one with: marscf check --accept NOTE")
    if args.accept is not None and (args.systems or args.datasets):
        raise MarscfError("--accept: a reference is whole; leave --systems and --datasets out")
    expected = read_metrics(reference) if reference.is_file() else metrics.iloc[:0]
    if args.systems:
        chosen = [*args.systems, REAL]
        metrics, expected = (table[table["system"].isin(chosen)] for table in (metrics, expected))
    if args.datasets:
        metrics, expected = (table[table["dataset"].isin(args.datasets)] for table in (metrics, expected))
    cells = compare(metrics, expected)
    print(f"{measured} against {reference}\n\n{report(cells)}")
    if published := against_published(metrics):
        print(f"\nAgainst published numbers:\n\n{published}")
    if args.accept is not None:
        accept(args.accept, cells, metrics, measured, reference)
        print(f"\nAccepted: {reference} is now these measurements.")
        return 0
    return int(any(cell.verdict in FAILING for cell in cells))


def against_published(metrics: "pandas.DataFrame") -> str:
    """A table of every measured number that something is published about, with its status."""
    from marscf.reporting.published import candidates, over_seeds, status
    from marscf.reporting.regression import aligned
    from marscf.reporting.tables import number

    lines = [("system", "metric", "measured", "published", "status")]
    for rows in over_seeds(metrics.to_dict("records")):
        name, metric = f"{rows[0]['dataset']}/{rows[0]['system']}", rows[0]["metric"]
        for entry in candidates(rows[0]):
            lines.append((name, metric, number(rows).text, entry.text, status(rows, entry).text))
    return aligned(lines) if len(lines) > 1 else ""


def accept(
    note: str, cells: list["Cell"], metrics: "pandas.DataFrame", measured: Path, reference: Path
) -> None:
    """Make `measured` the reference and keep the note, with the cells that changed.

    Beside it go the sweep and the pictures of the same report, and of each run its receipt. Raises
    `MarscfError` for an empty note and for an impossible number, which no note excuses.
    """
    from marscf.reporting.regression import report

    if not note.strip():
        raise MarscfError("--accept: say in a few words why the reference changes")
    for cell in cells:
        if cell.why.startswith("impossible"):
            raise MarscfError(
                f"{cell.name}: {cell.metric} is {cell.measured}, which is {cell.why}; mend it first"
            )
    notes = reference.with_name(NOTES)
    before = (
        notes.read_text()
        if notes.is_file()
        else f"# Changes of the reference, scale {reference.parent.name}\n"
    )
    today = datetime.datetime.now(datetime.UTC).date().isoformat()
    for path, text in (
        (notes, f"{before}\n## {today}: {note.strip()}\n\n{report(cells)}\n"),
        (reference, measured.read_text()),
    ):
        with replacing(path) as temporary:
            temporary.write_text(text)
    report_folder = measured.parent
    for path in (*report_folder.glob("sampling_speed.*"), *report_folder.glob("figures/*.png")):
        with replacing(reference.parent / path.relative_to(report_folder)) as temporary:
            shutil.copyfile(path, temporary)
    write_json(reference.with_name(PROVENANCE), provenance(metrics))


def provenance(metrics: "pandas.DataFrame") -> dict[str, Any]:
    """The receipts of the runs that were measured, by their folders."""
    names = metrics[["scale", "dataset", "system", "seed"]].drop_duplicates().itertuples(index=False)
    receipts = [Run(*row).path / RECEIPT for row in names]
    return {str(path.parent): read_json(path) for path in receipts if path.is_file()}
