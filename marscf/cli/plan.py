"""`marscf plan`: what a scale will take, before it is begun."""

import argparse
import os

from marscf.cli.arguments import SCALE_HELP, default_scale, names, positive
from marscf.environment import given
from marscf.errors import ConfigError


def configure(parser: argparse.ArgumentParser) -> None:
    """Add the arguments of `marscf plan`."""
    parser.add_argument("--scale", help=f"{SCALE_HELP} (default: the one in config/config.yaml)")
    parser.add_argument("--datasets", metavar="A,B", type=names, help="some of the scale's (default: all)")
    parser.add_argument("--systems", metavar="A,B", type=names, help="some of config/systems (default: all)")
    parser.add_argument(
        "--device",
        default="auto",
        help="auto, cpu, cuda or cuda:N; or part of the name of a machine that reports/bench has records of, "
        "as h200: its times are then by these records (default: %(default)s)",
    )
    parser.add_argument(
        "--cores", type=positive, default=_cores(), help="of snakemake --cores (default: all, %(default)s)"
    )
    parser.add_argument("--json", action="store_true", help="print all numbers, as JSON")
    parser.add_argument(
        "--keep-counts",
        action="store_true",
        help="keep each model's operations and activations in reports/bench/counted.json, so that the next "
        "plan does not count them again; not on a GPU",
    )
    parser.epilog = """examples:
  marscf plan
  marscf plan --scale paper --device h200
  marscf plan --scale laptop --datasets mnist --systems glow,my-flow --json
A few steps of each system are timed on this machine, on noise: no dataset is needed. What is done already
is left out. The sum is of one job after another, shared out over the jobs that run at once."""


def run(args: argparse.Namespace) -> None:
    """Print the plan."""
    import json

    from marscf.config import load_config
    from marscf.planning import counted, estimate, recorded, shown, work

    config = load_config()
    scale = args.scale or default_scale()
    selection = work.select(config, scale, args.systems, args.datasets)
    here = args.device == "auto" or args.device.startswith(("cpu", "cuda"))
    records = None if here else recorded.find(args.device)
    threads = selection.scale.resources.threads
    machine = estimate.machine_of(args.device if here else "cpu", args.cores, threads)
    if records:
        machine = estimate.elsewhere(records, machine)
    if args.keep_counts and machine.device != "cpu":
        raise ConfigError("--keep-counts: the record is of counts on a CPU; add --device cpu")
    whole = estimate.estimate(selection, machine, records, given("MARSCF_MIRROR"))
    if args.keep_counts:
        counted.keep((run.left.config, run.probe.counts) for run in whole.runs)
    if args.json:
        print(json.dumps(shown.to_json(whole), indent=1))
    else:
        print("\n".join(shown.lines(whole)))


def _cores() -> int:
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
