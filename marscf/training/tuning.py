"""`marscf tune`: the same trials for every system, each in the same processor time, by validation bits/dim.

A comparison is fair where each system had its settings chosen with equal care. The trials of
`config/tuning.yaml` change one thing each; the test images are never looked at.
"""

import argparse
import csv
import io
import time
from pathlib import Path
from typing import Any

from pydantic import Field

from marscf.config import Config, Strict, load_config, parse, read_yaml, resolve
from marscf.devices import HELP
from marscf.files import replacing, write_json
from marscf.options import declared_options

FILE = Path("config/tuning.yaml")
ROOT = Path("data/tuning")
COLUMNS = [
    *(
        "dataset",
        "system",
        "trial",
        "validation_bits_per_dim",
        "cpu_minutes",
        "steps",
        "batch_size",
        "images",
    ),
    *("learning_rate", "seed", "host"),
]
PACE_STEPS = 20  # that tell how long a step takes
VALIDATIONS = 4  # in a trial
BASE = "as it is"  # the trial that changes nothing


class Trial(Strict):
    """What a trial changes of a run."""

    times: dict[str, float] = Field(default_factory=dict)  # settings of training that are multiplied
    training: dict[str, Any] = Field(default_factory=dict)
    options: dict[str, Any] = Field(default_factory=dict)


class Tuning(Strict):
    """`config/tuning.yaml`."""

    minutes: float
    trials: dict[str, Trial]


def configure(parser: argparse.ArgumentParser) -> None:
    """Add the arguments of `marscf tune`."""
    parser.add_argument("--scale", required=True, help="a file in config/scales, whose settings are changed")
    parser.add_argument("--datasets", help="some of the scale's, by commas (default: all)")
    parser.add_argument("--systems", help="some of config/systems, by commas (default: all that train)")
    parser.add_argument("--trials", help="some of config/tuning.yaml, by commas (default: all)")
    parser.add_argument("--minutes", type=float, help="of processor time, for each trial")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument(
        "--show", action="store_true", help="print what was tried, as Markdown, and try nothing"
    )
    parser.add_argument("--device", default="auto", help=HELP)
    parser.epilog = """writes  reports/tuning/SCALE.csv   a row for each trial; a call goes on from it
example:
  marscf tune --scale laptop --datasets mnist --systems glow,mine"""


def run(args: argparse.Namespace) -> None:
    """Try what has not been tried, and print it."""
    config, tuning = load_config(), parse(Tuning, read_yaml(FILE), str(FILE))
    datasets = args.datasets.split(",") if args.datasets else config.scale(args.scale).datasets
    systems = args.systems.split(",") if args.systems else _trained(config)
    names = args.trials.split(",") if args.trials else list(tuning.trials)
    out = Path("reports/tuning") / f"{args.scale}.csv"
    rows = read_rows(out)
    if args.show:
        print(markdown(rows))
        return
    done = {(row["dataset"], row["system"], row["trial"], row["seed"]) for row in rows}
    for dataset in datasets:
        for system in systems:
            for name in names:
                if (dataset, system, name, str(args.seed)) in done:
                    continue
                changed = changed_config(config, args.scale, dataset, system, args.seed, tuning.trials[name])
                if changed is None:
                    continue
                folder = ROOT / args.scale / dataset / system / _slug(name) / f"seed{args.seed}"
                row = try_one(folder, changed, args.minutes or tuning.minutes, args.device)
                rows.append({"dataset": dataset, "system": system, "trial": name, **row, "seed": args.seed})
                write_rows(out, rows)
                print(f"{dataset} {system:16} {name:28} {row['validation_bits_per_dim']:.4f}", flush=True)


def _trained(config: Config) -> list[str]:
    """The systems whose settings of training matter: those that are not counted."""
    from marscf.models import model_class

    return [name for name, system in config.systems.items() if not model_class(vars(system)).closed_form]


def _slug(name: str) -> str:
    return "".join(letter if letter.isalnum() else "-" for letter in name)


def changed_config(
    config: Config, scale: str, dataset: str, system: str, seed: int, trial: Trial
) -> dict[str, Any] | None:
    """Return a run's config with a trial's changes, or None where it changes nothing or an unknown option."""
    resolved = resolve(config, scale, dataset, system, seed)
    known = declared_options(resolved["model"])
    if any(name not in known or resolved["options"][name] == v for name, v in trial.options.items()):
        return None
    times = {
        name: type(resolved["training"][name])(max(1, resolved["training"][name] * factor))
        if isinstance(resolved["training"][name], int)
        else resolved["training"][name] * factor
        for name, factor in trial.times.items()
    }
    return {
        **resolved,
        "options": {**resolved["options"], **trial.options},
        "training": {**resolved["training"], **times, **trial.training},
    }


def try_one(folder: Path, config: dict[str, Any], minutes: float, device: str) -> dict[str, Any]:
    """Train a run for so many minutes of processor time and return what it reached, as a row.

    The time of a step is measured first; the run then has as many steps as fit.
    """
    from marscf.training.command import train_run

    def trained(name: str, **training: Any) -> tuple[dict[str, Any], float]:
        write_json(folder / name / "config.json", {**config, "training": {**config["training"], **training}})
        started = time.process_time()
        receipt = train_run(folder / name, device)
        return receipt, time.process_time() - started

    few = {"validation_images": 1, "validate_every": PACE_STEPS, "checkpoint_every": 10**9}
    pace, _ = trained("pace", steps=PACE_STEPS, **few)
    steps = max(10, round(60 * minutes / pace["cpu_seconds"] * PACE_STEPS))
    every = -(-steps // VALIDATIONS)
    receipt, seconds = trained("run", steps=steps, validate_every=every, checkpoint_every=10**9)
    return {
        "validation_bits_per_dim": receipt["best_validation_bits_per_dim"],
        "cpu_minutes": round(seconds / 60, 2),
        "steps": steps,
        "batch_size": config["training"]["batch_size"],
        "images": steps * config["training"]["batch_size"],
        "learning_rate": config["training"]["learning_rate"],
        "host": receipt["host"]["gpu"] or receipt["host"]["cpu"],
    }


def read_rows(path: Path) -> list[dict[str, Any]]:
    """Return the rows of a table of trials, none where there is no file."""
    if not path.is_file():
        return []
    with open(path, newline="") as stream:
        return list(csv.DictReader(stream))


def markdown(rows: list[dict[str, Any]]) -> str:
    """Return a table for each dataset and host: a line for each trial, a column for each system.

    "as it is" shows validation bits/dim, the other trials how far they are from it.
    """
    text = []
    for dataset, host in dict.fromkeys((row["dataset"], row["host"]) for row in rows):
        of = [row for row in rows if (row["dataset"], row["host"]) == (dataset, host)]
        systems = list(dict.fromkeys(row["system"] for row in of))
        bits = {(row["trial"], row["system"]): float(row["validation_bits_per_dim"]) for row in of}
        text += [f"{dataset} ({host}):", "", f"| | {' | '.join(systems)} |", "|---|" + "--:|" * len(systems)]
        for trial in dict.fromkeys(row["trial"] for row in of):
            cells = [_cell(trial, bits.get((trial, name)), bits.get((BASE, name))) for name in systems]
            text.append(f"| {trial} | {' | '.join(cells)} |")
        text.append("")
    return "\n".join(text)


def _cell(trial: str, value: float | None, base: float | None) -> str:
    if value is None:
        return ""
    return f"{value:.3f}" if trial == BASE or base is None else f"{value - base:+.3f}"


def write_rows(path: Path, rows: list[dict[str, Any]]) -> None:
    """Write the table of trials."""
    text = io.StringIO(newline="")
    writer = csv.DictWriter(text, COLUMNS, lineterminator="\n")
    writer.writeheader()
    writer.writerows(rows)
    path.parent.mkdir(parents=True, exist_ok=True)
    with replacing(path) as temporary:
        temporary.write_text(text.getvalue())
