"""`marscf checkpoints`: the published checkpoints, fetched and listed, and imported one by one."""

import argparse
from pathlib import Path

from marscf.cli.arguments import add_sources, positive
from marscf.devices import HELP
from marscf.errors import MarscfError, printable

EXAMPLES = """examples:
  marscf checkpoints                                   fetch all of config/checkpoints, list what they hold
  marscf checkpoints --mirror /files --offline         from /files/<checkpoint>/<file>, without a network
  marscf checkpoints --accept mar-scf                  its file has changed at the publisher: take the new one
  marscf checkpoints --run data/runs/published/cifar10/glow/seed0     import one of them
"""


def configure(parser: argparse.ArgumentParser) -> None:
    """Add the arguments of `marscf checkpoints`."""
    parser.epilog = EXAMPLES
    parser.add_argument(
        "--run",
        metavar="RUN",
        help="import this run of the list into its folder, and say how long its measurements will take",
    )
    parser.add_argument("--device", default="auto", help=f"where a run will be measured: {HELP}")
    parser.add_argument("--images", type=positive, metavar="N", help="at most N will be measured")
    parser.add_argument("--scale", default="published", help="scale of the runs (default: %(default)s)")
    parser.add_argument("--accept", action="append", default=[], metavar="NAME", help="accept a changed file")
    add_sources(parser, "<checkpoint>/<file>")


def run(args: argparse.Namespace) -> None:
    """Fetch and list, or import one."""
    from marscf.compat.published import fetch, import_published

    if args.run:
        from marscf.studies.foresight import foresee

        receipt = import_published(args.run)
        print(printable(f"{args.run}: {receipt['parameters']:,} parameters from {receipt['imported_from']}"))
        try:
            print(foresee(args.run, args.device, args.images))
        except MarscfError as error:  # the run is imported all the same
            print(f"how long its measurements will take is not known: {error}")
        return
    from marscf.config import load_config
    from marscf.data.sources import Store

    store = Store(Path("data/sources"), args.mirror, args.offline)
    index = fetch(load_config(), args.scale, store, tuple(args.accept))
    for entry in index["runs"]:
        print(printable(f"{entry['run']}: {Path(entry['foreign']['path']).name} of {entry['checkpoint']}"))
    for entry in index["left"]:
        print(printable(f"left out: {entry['file']} of {entry['checkpoint']}: {entry['reason']}"))
    for entry in index["missing"]:
        print(printable(f"missing: {entry['checkpoint']}: {entry['reason']}"))
