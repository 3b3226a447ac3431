"""`marscf tune`: try settings of training, the same for every system."""

import argparse

from marscf.cli.arguments import names
from marscf.devices import HELP


def configure(parser: argparse.ArgumentParser) -> None:
    """Add the arguments of `marscf tune`."""
    parser.add_argument("--scale", required=True, help="a file in config/scales, whose settings are changed")
    parser.add_argument("--datasets", metavar="A,B", type=names, help="some of the scale's (default: all)")
    parser.add_argument(
        "--systems", metavar="A,B", type=names, help="some of config/systems (default: all that train)"
    )
    parser.add_argument(
        "--trials", metavar="A,B", type=names, help="some of config/tuning.yaml (default: all)"
    )
    parser.add_argument("--minutes", type=float, help="of processor time, for each trial")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument(
        "--show", action="store_true", help="print what was tried, as Markdown, and try nothing"
    )
    parser.add_argument("--device", default="auto", help=HELP)
    parser.epilog = """writes  reports/tuning/SCALE.csv   a row for each trial; one that was tried with the
                                   same config, code and minutes is not tried again
example:
  marscf tune --scale laptop --datasets mnist --systems glow,mine"""


def run(args: argparse.Namespace) -> None:
    """Try what has not been tried, and print it."""
    from marscf.training import tuning

    if args.show:
        print(tuning.markdown(tuning.read_rows(tuning.table(args.scale))))
        return
    chosen = args.datasets, args.systems, args.trials
    tuning.tune(args.scale, *chosen, args.minutes, args.seed, args.device)
