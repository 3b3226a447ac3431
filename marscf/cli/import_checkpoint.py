"""`marscf import FILE --code CODE --out RUN`: a checkpoint of another code becomes a run."""

import argparse

CODES = ("mar-scf", "residual-flows", "glow-pytorch")


def configure(parser: argparse.ArgumentParser) -> None:
    """Add the arguments of `marscf import`."""
    parser.add_argument("checkpoint", metavar="FILE", help="a checkpoint, as its authors publish it")
    parser.add_argument("--code", required=True, choices=CODES, help="the public code that wrote it")
    parser.add_argument("--out", required=True, metavar="RUN", help="folder of the run to make")
    parser.add_argument("--name", help="the name the file had, where it was renamed (mar-scf needs it)")
    parser.add_argument("--hparams", metavar="JSON", help="its hyper-parameters (glow-pytorch: hparams.json)")
    parser.epilog = (
        "examples:\n"
        "  marscf import marscf_cifar10_affine_32_512.pt --code mar-scf --out data/runs/mine/cifar10/marscf-affine/seed0\n"
        "  marscf import cifar10_resflow_16-16-16.pth --code residual-flows --out data/runs/mine/cifar10/residual-flow/seed0\n"
        "No code in the file is run. Each tensor's name and shape is checked. evaluate, sample and study take\n"
        "the run like any other. All published checkpoints at once: make published"
    )


def run(args: argparse.Namespace) -> None:
    """Import the checkpoint."""
    from marscf.compat.importing import import_checkpoint

    receipt = import_checkpoint(args.checkpoint, args.out, args.code, args.name, args.hparams)
    print(f"{args.out}: {receipt['parameters']:,} parameters from {receipt['imported_from']}")
