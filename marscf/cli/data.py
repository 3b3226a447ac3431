"""`marscf data`: make a dataset ready."""

import argparse
from pathlib import Path

from marscf.cli.arguments import add_sources
from marscf.runs import DATASETS

EXAMPLES = """examples:
  marscf data digits                              the embedded dataset, no network
  marscf data mnist                               download from the publishers, verify, decode
  marscf data cifar10 --mirror /datasets          the same from /datasets/cifar10/cifar-10-binary.tar.gz
  marscf data imagenet32 --mirror s3://bucket/m   any fsspec address
  MARSCF_MIRROR=/datasets marscf data mnist-rgb --offline
"""


def configure(parser: argparse.ArgumentParser) -> None:
    """Add the arguments."""
    parser.epilog = EXAMPLES
    parser.add_argument("dataset", help="a name in config/datasets")
    add_sources(parser, "<dataset>/<file>")
    parser.add_argument("--release", help="of imagenet32: which of its releases (default: the one at hand)")
    parser.add_argument(
        "--root",
        type=Path,
        default=DATASETS,
        help="where prepared datasets lie; downloads go to ../sources beside it (default: %(default)s)",
    )


def run(args: argparse.Namespace) -> None:
    """Prepare the dataset and say what it holds."""
    from marscf.config import load_config
    from marscf.data.prepare import prepare

    dataset = load_config().dataset(args.dataset)
    manifest, done = prepare(dataset, args.root, args.mirror, args.offline, args.release)
    counts = ", ".join(f"{split} {entry['count']:,}" for split, entry in manifest["splits"].items())
    print(f"{args.root / dataset.name}: {counts} images of {'×'.join(map(str, dataset.shape))}; {done}")
    if manifest["release"]:
        print(f"  release: {manifest['release']}")
    for source in manifest["sources"].values():
        for note in source.get("notes", []):
            print(f"  {source['file']}: {note}")
        if source["published_checksum"] and source["verified_by"] != "its checksum":
            print(f"  {source['file']}: verified by {source['verified_by']}")
