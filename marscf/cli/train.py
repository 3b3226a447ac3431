"""`marscf train RUN`: train a run, go on with it, or give a finished one its receipt back."""

import argparse

from marscf import devices
from marscf.cli.arguments import RUN_HELP
from marscf.environment import given
from marscf.training.interrupt import Stop, parse_duration
from marscf.training.run import train_run


def configure(parser: argparse.ArgumentParser) -> None:
    """Add the arguments of `marscf train`."""
    parser.add_argument("run", metavar="RUN", help=RUN_HELP)
    parser.add_argument("--device", default="auto", help=devices.HELP)
    parser.add_argument(
        "--time-limit",
        metavar="T",
        default=given("MARSCF_TIME_LIMIT"),
        help="stop cleanly after so long, with exit code 75: 90s, 9m, 2h, 1h30m (default: "
        "$MARSCF_TIME_LIMIT, else none)",
    )
    parser.add_argument(
        "--again", action="store_true", help="train anew what is finished, or was begun by other code"
    )
    parser.epilog = """examples:
  marscf train data/runs/quick/digits/marscf-affine/seed0
  marscf train data/runs/paper/cifar10/glow/seed0 --device cuda:1 --time-limit 11h30m
  torchrun --nproc-per-node 4 -m marscf train data/runs/paper/cifar10/glow/seed0

It leaves receipt.json, weights.safetensors (the averaged weights that were best on the validation
images), log.jsonl, tensorboard/ and its state. Called again it goes on where it was, bit for bit;
on a finished run with the same config and data it only writes the receipt again, and says where other
code of the model, or of the training, made its weights."""


def run(args: argparse.Namespace) -> None:
    """Train."""
    limit = None if args.time_limit is None else parse_duration(args.time_limit)
    with Stop(limit) as stop:
        train_run(args.run, args.device, stop, args.again)
