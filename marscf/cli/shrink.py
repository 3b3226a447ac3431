"""`marscf shrink RUN…`: store the weights of finished runs in about half the space."""

import argparse

from marscf import devices
from marscf.cli.arguments import RUN_HELP, positive
from marscf.training.shrink import IMAGES, LARGEST_CHANGE


def configure(parser: argparse.ArgumentParser) -> None:
    """Add the arguments of `marscf shrink`."""
    parser.add_argument("runs", metavar="RUN", nargs="+", help=RUN_HELP)
    parser.add_argument("--device", default="auto", help=devices.HELP)
    parser.add_argument(
        "--images",
        type=positive,
        default=IMAGES,
        metavar="N",
        help="validation images that the change is measured on (default: %(default)s)",
    )
    parser.epilog = f"""examples:
  marscf shrink data/runs/laptop/cifar10/*/seed*

Large tensors are rounded to float16. The change in validation bits/dim is measured, and noted in the
receipt. A run that would change by more than {LARGEST_CHANGE} bits/dim is left as it is. Measure a run
after this, not before: its measurements are of the weights as they are stored."""


def run(args: argparse.Namespace) -> None:
    """Shrink them one by one."""
    from marscf.training.shrink import shrink

    for path in args.runs:
        print(f"{path}: {shrink(path, args.device, args.images)}")
