"""`marscf bench training|evaluation|sampling|growth|precision`: what the code costs, and what bfloat16 does.

Run by hand or nightly, never as a timed test: machines are shared, so what counts is the ratio of two
implementations measured in turn in one process.
"""

import argparse
import functools
from pathlib import Path
from typing import Any

from marscf.bench.report import COMPILED, OURS, WORKS, steps_in_words, write_report
from marscf.devices import HELP, choose_device
from marscf.errors import ConfigError

EXAMPLES = """examples:
  marscf bench training --coupling affine --steps 32 --channels 512 --batch-size 16
  marscf bench sampling --coupling mixlogcdf --steps 4 --channels 96 --authors-code ~/mar-scf
  marscf bench growth --coupling mixlogcdf --steps 2 --channels 32 --batch-size 4
  marscf bench precision data/runs/mine/float32 data/runs/mine/bfloat16
`training`, `evaluation` and `sampling` write OUT/WORK-COUPLING.csv (one row an implementation) and .json (the
machine, ratios, FLOP/s, megabytes, profile), add a line each to OUT/history.csv and draw OUT/history.png.
With --system they write OUT/systems/WORK-SYSTEM-SCALE-DATASET.csv and .json. `growth` measures time, memory
and sequential steps over the side N, the batch, the number of images, depth and components, and fits
exponents; it writes OUT/growth-COUPLING.csv and .json, or OUT/systems/growth-SYSTEM. `precision` compares
validations of runs that differ in training.precision alone; it writes OUT/precision.csv, .json, .png, .svg.
OUT/README.md tells it"""


def configure(parser: argparse.ArgumentParser) -> None:
    """Add the arguments of `marscf bench`."""
    parser.epilog = EXAMPLES
    parser.add_argument(
        "work",
        choices=[*WORKS, "growth", "precision"],
        help="what is measured",
    )
    parser.add_argument("runs", nargs="*", type=Path, help="of precision: runs, in pairs; of nothing else")
    parser.add_argument(
        "--coupling", choices=["affine", "mixlogcdf"], default="affine", help="(default: %(default)s)"
    )
    parser.add_argument("--side", type=int, default=32, help="image side, pixels (default: %(default)s)")
    parser.add_argument("--levels", type=int, default=3, help="L (default: %(default)s)")
    parser.add_argument("--steps", type=int, default=32, help="flow steps per level (default: %(default)s)")
    parser.add_argument("--channels", type=int, default=512, help="hidden channels, C (default: %(default)s)")
    parser.add_argument("--batch-size", type=int, default=16, help="images (default: %(default)s)")
    parser.add_argument("--repeats", type=int, default=3, help="timed pairs (default: %(default)s)")
    parser.add_argument(
        "--system",
        metavar="NAME",
        help="this system as SCALE has it: its training, evaluation and sampling beside a fixed yardstick",
    )
    parser.add_argument("--scale", default="laptop", help="of --system (default: %(default)s)")
    parser.add_argument("--dataset", default="cifar10", help="of --system (default: %(default)s)")
    parser.add_argument(
        "--peer", type=Path, metavar="DIR", help="of --system: a clone of another public code, measured too"
    )
    parser.add_argument(
        "--against",
        type=Path,
        metavar="FILE",
        help="of --system: a .json of an earlier call on this machine; exit 1 where it is slower now",
    )
    parser.add_argument(
        "--authors-code",
        type=Path,
        metavar="DIR",
        help="a clone of the authors' code (visinf/mar-scf), to be measured too; not with --system",
    )
    parser.add_argument(
        "--compile", action="store_true", help="measure the code compiled as well, which takes minutes before"
    )
    parser.add_argument("--device", default="auto", help=HELP)
    parser.add_argument("--out", type=Path, default=Path("reports/bench"), help="folder (%(default)s)")


def run(args: argparse.Namespace) -> int:
    """Measure, print a table, and write what was measured; 1 where a step is slower than in a record."""
    if (args.work == "precision") != bool(args.runs):
        raise ConfigError("give runs with precision, in pairs, and with nothing else")
    if args.system and args.work == "precision":
        raise ConfigError(f"--system: of {', '.join(WORKS)} and growth, not of precision")
    of_systems = {"--peer": args.peer, "--against": args.against}
    of_couplings = {"--authors-code": args.authors_code}
    if args.work not in WORKS:
        for flag, value in {**of_systems, **of_couplings, "--compile": args.compile}.items():
            if value:
                raise ConfigError(f"{flag}: of {', '.join(WORKS)}, not of {args.work}")
    for flag, value in (of_couplings if args.system else of_systems).items():
        if value:
            raise ConfigError(f"{flag}: only {'without' if args.system else 'with'} --system")
    slower = 0
    if args.work == "precision":
        _precision(args)
    elif args.work == "growth":
        _growth(args)
    elif args.system:
        slower = _system(args)
    else:
        _throughput(args)
    write_report(args.out)
    return slower


def _precision(args: argparse.Namespace) -> None:
    from marscf.bench.precision import compare

    for row in compare(args.runs, args.out):
        print("{system} on {dataset}, step {step}: {float32:.4f} and {bfloat16:.4f} bits/dim".format(**row))


def _system(args: argparse.Namespace) -> int:
    from marscf.bench.systems import bench_config, bench_system, slower
    from marscf.bench.throughput import write

    config = bench_config(args.system, args.scale, args.dataset, args.peer)
    rows, facts = bench_system(
        args.work,
        config,
        choose_device(args.device),
        args.batch_size,
        args.repeats,
        args.peer,
        args.compile,
    )
    for row in rows:
        print(
            f"{row['implementation']:>13}  {1e3 * row['median_seconds']:10.1f} ms  {row['yardsticks']:8.2f} "
            f"yardsticks  {row['parameters']:,} parameters"
        )
        if row["implementation"] in (OURS, COMPILED) and (times := row["times_as_fast_as_peer"]):
            print(f"{args.system}, {args.work}: {times:.2f} times as fast as the peer")
    again = slower(rows, args.against) if args.against else None
    write(rows, facts, args.out / "systems" / f"{args.work}-{args.system}-{args.scale}-{args.dataset}")
    if again:
        print(again)
    return int(bool(again))


def _model(args: argparse.Namespace) -> dict[str, Any]:
    return {name: getattr(args, name) for name in ("coupling", "levels", "steps", "channels")}


def _growth(args: argparse.Namespace) -> None:
    from marscf.bench.growth import SIDES, growth
    from marscf.bench.systems import bench_config, system_model
    from marscf.bench.throughput import write
    from marscf.bench.work import trained_like

    device = choose_device(args.device)
    sizes = {"batch_size": args.batch_size, "repeats": args.repeats}
    if args.system:
        of = functools.partial(bench_config, args.system, args.scale, args.dataset, None)
        rows, facts = growth(
            device, lambda n, own: system_model(of(n, **own), device), of().options, SIDES[:3], **sizes
        )
        model, name = f"{args.system}, {args.scale} {args.dataset}", f"systems/growth-{args.system}"
    else:
        rows, facts = growth(
            device, lambda n, own: trained_like(own, n, device), _model(args), SIDES, **sizes
        )
        model, name = f"{args.coupling} {args.steps}×{args.channels}", f"growth-{args.coupling}"
    write(rows, {**facts, "model": model}, args.out / name)
    for what, costs in facts["exponents"].items():
        for cost, (exponent, low, high) in costs.items():
            print(f"{what:>24}: {cost:8} grow as size^{exponent:.2f} [{low:.2f}, {high:.2f}]")
    print(f"{'sampling over side':>24}: {steps_in_words(facts['steps'])}")


def _throughput(args: argparse.Namespace) -> None:
    from marscf.bench import history
    from marscf.bench.throughput import bench, write

    size = args.side, args.batch_size, args.repeats
    device = choose_device(args.device)
    rows, facts = bench(args.work, device, _model(args), *size, args.authors_code, args.compile)
    for row in rows:
        print(line(row))
    write(rows, facts, args.out / f"{args.work}-{args.coupling}")
    history.append(rows, facts, args.out / "history.csv")
    history.plot(args.out / "history.csv")


def line(row: dict[str, Any]) -> str:
    """One implementation's measurement, for a terminal."""
    text = (
        f"{row['implementation']:>23}  {1e3 * row['median_seconds']:10.1f} ms  "
        f"{row['images_per_second']:8.2f} images/s  ×{row['speed_over_reference']:.2f} "
        f"({row['slowest_ratio']:.2f} to {row['fastest_ratio']:.2f})  "
        f"{row['share_of_matmul_rate']:.2f} of the matmul rate"
    )
    if row["speed_over_authors"]:
        text += f"  ×{row['speed_over_authors']:.2f} the authors'"
    if row["kept_megabytes"]:
        text += f"  {row['kept_megabytes']:.1f} MB kept for backward"
    return text
