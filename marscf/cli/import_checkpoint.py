"""`marscf import FILE --code CODE --out RUN`: a checkpoint of another code becomes a run."""

import argparse
from pathlib import Path

from marscf.errors import printable

CODES = ("mar-scf", "residual-flows", "glow-pytorch")
EXAMPLES = """examples:
  marscf import marscf_cifar10_affine_32_512.pt --code mar-scf --out imported/marscf-affine
  marscf import cifar10_resflow_16-16-16.pth --code residual-flows --out imported/residual-flow
  marscf import glow_affine_coupling.pt --code glow-pytorch --hparams hparams.json --out imported/glow

No code in the file is run. Each tensor's name and shape is checked. evaluate, sample and study take the run
like any other. All published checkpoints at once: make published
"""


def configure(parser: argparse.ArgumentParser) -> None:
    """Add the arguments of `marscf import`."""
    parser.epilog = EXAMPLES
    parser.add_argument("checkpoint", type=Path, metavar="FILE", help="a checkpoint, as it was published")
    parser.add_argument("--code", required=True, choices=CODES, help="the public code that wrote it")
    parser.add_argument("--out", required=True, metavar="RUN", help="folder of the run to make")
    parser.add_argument("--name", help="the name the file had, where it was renamed (mar-scf needs it)")
    parser.add_argument("--hparams", type=Path, metavar="JSON", help="its hyper-parameters (glow-pytorch)")


def run(args: argparse.Namespace) -> None:
    """Import the checkpoint."""
    from marscf.compat.code import Foreign
    from marscf.compat.importing import import_checkpoint

    receipt = import_checkpoint(Foreign(args.checkpoint, args.code, args.name, args.hparams), args.out)
    print(printable(f"{args.out}: {receipt['parameters']:,} parameters from {receipt['imported_from']}"))
