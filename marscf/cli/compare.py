"""`marscf compare`: runs beside each other."""

import argparse


def configure(parser: argparse.ArgumentParser) -> None:
    """Add the arguments of `marscf compare`."""
    parser.add_argument("runs", metavar="RUN", nargs="+", help="data/runs/<scale>/<dataset>/<system>/seed<k>")
    parser.epilog = """examples:
  marscf compare data/runs/quick/digits/glow/seed0 data/runs/quick/digits/marscf-affine/seed0
  marscf compare data/runs/quick/digits/*/seed0
< marks the best value, where all are over as many images. The last row is the difference in bits/dim to the
first run, over the same test images (the first ones, where one run has fewer), ± 95 %: chance of the images.
What another seed changes is not in it; the page compares seeds."""


def run(args: argparse.Namespace) -> None:
    """Print the table."""
    from marscf.reporting.comparison import compare, text

    print(text(compare(args.runs)))
