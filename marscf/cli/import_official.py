"""`marscf import-official CKPT.pt --out RUN`: a checkpoint of the authors' code becomes a run."""

import argparse


def configure(parser: argparse.ArgumentParser) -> None:
    """Add the arguments of `marscf import-official`."""
    parser.add_argument("checkpoint", metavar="CKPT.pt", help="marscf_<dataset>_<coupling>_<K>_<C>.pt")
    parser.add_argument("--out", required=True, metavar="RUN", help="folder of the run to make")
    parser.add_argument("--name", help="the name the file had, where it was renamed")
    parser.epilog = (
        "example:\n"
        "  marscf import-official marscf_cifar10_affine_32_512.pt"
        " --out data/runs/official/cifar10/marscf-affine/seed0\n"
        "No code in the file is run; each tensor's name and shape is checked. The run keeps the authors'\n"
        "pixel scaling, x/255 - 1/2 + u/256; evaluate, sample and study take it like any other."
    )


def run(args: argparse.Namespace) -> None:
    """Import the checkpoint."""
    from marscf.compat.official import import_checkpoint

    receipt = import_checkpoint(args.checkpoint, args.out, args.name)
    print(f"{args.out}: {receipt['parameters']:,} parameters from {receipt['imported_from']}")
