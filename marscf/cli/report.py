"""`marscf report collect|index`: measurements into one table, and one page to read."""

import argparse

from marscf.cli.arguments import RUN_HELP, SCALE_HELP

EXAMPLES = """examples:
  marscf report collect --scale quick --runs data/runs/quick/digits/*/seed*
  marscf report index --scale quick
Between the two, workflow/notebooks/product.ipynb draws the figures and tables."""

COLLECT = """
One row a number: value, standard error, n, protocol (how it was measured), and the published number where one
can be compared. metrics.json beside it holds the values for `dvc metrics`.
example: marscf report collect --scale quick --runs data/runs/quick/digits/*/seed*"""

INDEX = """
From metrics.csv, the figures and tables that lie in reports/SCALE, and the runs' receipts.
example: marscf report index --scale quick"""


def configure(parser: argparse.ArgumentParser) -> None:
    """Add the subcommands of `marscf report`."""
    parser.epilog = EXAMPLES
    raw = argparse.RawDescriptionHelpFormatter
    parts = parser.add_subparsers(dest="part", required=True, metavar="PART")

    def part(name: str, text: str, more: str) -> argparse.ArgumentParser:
        command = parts.add_parser(name, help=text, description=f"{text}\n{more}", formatter_class=raw)
        command.add_argument("--scale", required=True, help=SCALE_HELP)
        return command

    collect = part("collect", "all measurements of the runs, tidy -> reports/SCALE/metrics.csv", COLLECT)
    collect.add_argument("--runs", nargs="+", required=True, metavar="RUN", help=RUN_HELP)
    part("index", "one self-contained page -> reports/SCALE/index.html, and summary.txt", INDEX)


def run(args: argparse.Namespace) -> None:
    """Write the table or the page and say where it is."""
    if args.part == "collect":
        from marscf.reporting.collect import collect

        print(collect(args.scale, args.runs))
    else:
        from marscf.reporting.index import write_index

        print(write_index(args.scale))
