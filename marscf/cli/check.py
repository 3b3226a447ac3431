"""`marscf check`: did a number get worse than the committed reference?"""

import argparse

from marscf.cli.arguments import default_scale, names
from marscf.errors import MarscfError


def configure(parser: argparse.ArgumentParser) -> None:
    """Add the arguments of `marscf check`."""
    parser.add_argument("--scale", help="a file in config/scales (default: that of config/config.yaml)")
    for kind in ("systems", "datasets"):
        parser.add_argument(
            f"--{kind}",
            metavar="A,B",
            type=names,
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
of images or otherwise, or its standard error has another size. It is doubtful where it is better by more than
that: a mistake can make it so, and --accept says what did. It is wrong where it contradicts what it was
measured from: the scores of each image, the real images' own FID, the steps of the training. No note excuses
that. Timings are not compared. Exit code 1 where a cell fails."""


def run(args: argparse.Namespace) -> int:
    """Print what differs and return 1 where a cell fails."""
    from marscf.config import load_config
    from marscf.reporting.acceptance import REFERENCE, accept, against_published
    from marscf.reporting.collect import REAL, read_metrics, reports
    from marscf.reporting.guards import guards
    from marscf.reporting.regression import FAILING, compare, report

    config = load_config()
    scale = config.scale(args.scale or default_scale()).name
    measured = reports(scale) / "metrics.csv"
    metrics, reference = read_metrics(measured), REFERENCE / scale / "metrics.csv"
    if not reference.is_file() and args.accept is None:
        raise MarscfError(f"no {reference} to compare with; make one with: marscf check --accept NOTE")
    if args.accept is not None and (args.systems or args.datasets):
        raise MarscfError("--accept: a reference is whole; leave --systems and --datasets out")
    expected = read_metrics(reference) if reference.is_file() else metrics.iloc[:0]
    tables = [metrics, expected]
    for column, chosen, known in (
        ("system", args.systems, config.system),
        ("dataset", args.datasets, config.dataset),
    ):
        for name in chosen or ():
            known(name)  # an error where there is none
            if not any(table[column].eq(name).any() for table in tables):
                raise MarscfError(f"nothing to compare: {measured} and {reference} have no {column} {name}")
        if chosen:
            tables = [table[table[column].isin([*chosen, REAL])] for table in tables]
    if not any(table["system"].ne(REAL).any() for table in tables):
        raise MarscfError(
            f"nothing to compare: {measured} and {reference} have none of these systems on these datasets"
        )
    metrics, expected = tables
    cells = [*guards(metrics), *compare(metrics, expected)]
    print(f"{measured} against {reference}\n\n{report(cells)}")
    if published := against_published(metrics):
        print(f"\nAgainst published numbers:\n\n{published}")
    if args.accept is not None:
        accept(args.accept, cells, metrics, measured, reference)
        print(f"\nAccepted: {reference} is now these measurements.")
        return 0
    return int(any(cell.verdict in FAILING for cell in cells))
