"""`marscf checkpoints`: the published checkpoints, fetched and listed, and imported one by one."""

import argparse
from pathlib import Path

from marscf.environment import given, switch

EXAMPLES = """examples:
  marscf checkpoints                                   fetch all of config/checkpoints, list what they hold
  marscf checkpoints --mirror /files --offline         from /files/<checkpoint>/<file>, without a network
  marscf checkpoints --accept mar-scf                  its file has changed at the publisher: take the new one
  marscf checkpoints --run data/runs/published/cifar10/glow/seed0     import one of them
"""


def configure(parser: argparse.ArgumentParser) -> None:
    """Add the arguments of `marscf checkpoints`."""
    parser.epilog = EXAMPLES
    parser.add_argument("--run", metavar="RUN", help="import this run of the list into its folder")
    parser.add_argument("--scale", default="published", help="scale of the runs (default: %(default)s)")
    parser.add_argument("--accept", action="append", default=[], metavar="NAME", help="accept a changed file")
    parser.add_argument(
        "--mirror",
        default=given("MARSCF_MIRROR"),
        help="folder or fsspec address that holds <checkpoint>/<file> (default: $MARSCF_MIRROR)",
    )
    parser.add_argument(
        "--offline",
        action="store_true",
        default=switch("MARSCF_OFFLINE"),
        help="never open a socket (default: $MARSCF_OFFLINE)",
    )


def run(args: argparse.Namespace) -> None:
    """Fetch and list, or import one."""
    from marscf.compat.published import fetch, import_published

    if args.run:
        receipt = import_published(args.run)
        print(f"{args.run}: {receipt['parameters']:,} parameters from {receipt['imported_from']}")
        return
    from marscf.config import load_config
    from marscf.data.sources import Store

    store = Store(Path("data/sources"), args.mirror, args.offline)
    index = fetch(load_config(), args.scale, store, tuple(args.accept))
    for entry in index["runs"]:
        print(f"{entry['run']}: {Path(entry['foreign']['path']).name} of {entry['checkpoint']}")
    for entry in index["left"]:
        print(f"left out: {entry['file']} of {entry['checkpoint']}: {entry['reason']}")
    for entry in index["missing"]:
        print(f"missing: {entry['checkpoint']}: {entry['reason']}")
