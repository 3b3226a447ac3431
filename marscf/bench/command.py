"""`marscf bench training|evaluation|sampling`: throughput beside a step-by-step reference.

Run by hand or nightly, never as a timed test: machines are shared, so what counts is the ratio of two
implementations measured in turn in one process.
"""

import argparse

from marscf.devices import HELP as DEVICE_HELP

EXAMPLES = """examples:
  marscf bench training --coupling affine --steps 32 --channels 512 --batch-size 16
  marscf bench sampling --coupling mixlogcdf --steps 4 --channels 96 --out reports/bench/sampling
writes OUT.csv (one row an implementation) and OUT.json (the machine, ratios, FLOP/s)"""


def configure(parser: argparse.ArgumentParser) -> None:
    """Add the arguments of `marscf bench`."""
    parser.epilog = EXAMPLES
    parser.add_argument("work", choices=["training", "evaluation", "sampling"], help="what is timed")
    parser.add_argument(
        "--coupling", choices=["affine", "mixlogcdf"], default="affine", help="(default: %(default)s)"
    )
    parser.add_argument("--side", type=int, default=32, help="image side, pixels (default: %(default)s)")
    parser.add_argument("--levels", type=int, default=3, help="L (default: %(default)s)")
    parser.add_argument("--steps", type=int, default=32, help="flow steps a level, K (default: %(default)s)")
    parser.add_argument("--channels", type=int, default=512, help="hidden channels, C (default: %(default)s)")
    parser.add_argument("--batch-size", type=int, default=16, help="images (default: %(default)s)")
    parser.add_argument("--repeats", type=int, default=3, help="timed pairs (default: %(default)s)")
    parser.add_argument("--device", default="auto", help=DEVICE_HELP)
    parser.add_argument(
        "--out", default="reports/bench/latest", help="prefix of .csv and .json (%(default)s)"
    )


def run(args: argparse.Namespace) -> None:
    """Measure, print a table, and write CSV and JSON."""
    from marscf.bench.throughput import bench, write
    from marscf.devices import choose_device

    rows, facts = bench(
        args.work,
        choose_device(args.device),
        options={
            "coupling": args.coupling,
            "levels": args.levels,
            "steps": args.steps,
            "channels": args.channels,
        },
        side=args.side,
        batch_size=args.batch_size,
        repeats=args.repeats,
    )
    for row in rows:
        print(
            f"{row['implementation']:>16}  {1e3 * row['median_seconds']:10.1f} ms  "
            f"{row['images_per_second']:8.2f} images/s  ×{row['speed_over_reference']:.2f} "
            f"({row['slowest_ratio']:.2f} to {row['fastest_ratio']:.2f})  "
            f"{row['kept_megabytes']:8.1f} MB kept for backward"
        )
    write(rows, facts, args.out)
