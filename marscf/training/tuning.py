"""The same trials for every system, each in the same processor time, by validation bits/dim.

A comparison is fair where each system had its settings chosen with equal care. The trials of
`config/tuning.yaml` change one thing each; the test images are never looked at.
"""

import csv
import io
import time
from dataclasses import replace
from pathlib import Path
from typing import Any

from pydantic import Field

from marscf.config import Config, Strict, load_config, parse, read_yaml, resolve
from marscf.files import locked, replacing, write_json
from marscf.runs import CONFIG
from marscf.settings import RunConfig
from marscf.training.run import train_run

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
PACE_STEPS = 20  # by which the time of a step is measured
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


def table(scale: str) -> Path:
    """Return where the trials of a scale are written."""
    return Path("reports/tuning") / f"{scale}.csv"


def tune(
    scale: str,
    datasets: list[str] | None = None,
    systems: list[str] | None = None,
    trials: list[str] | None = None,
    minutes: float | None = None,
    seed: int = 0,
    device: str = "auto",
) -> None:
    """Try what has not been tried, and print and write each result; None stands for all."""
    config, tuning = load_config(), parse(Tuning, read_yaml(FILE), str(FILE))
    out = table(scale)
    done = {(row["dataset"], row["system"], row["trial"], row["seed"]) for row in read_rows(out)}
    for dataset in datasets or config.scale(scale).datasets:
        for system in systems or _trained(config):
            for name in trials or tuning.trials:
                if (dataset, system, name, str(seed)) in done:
                    continue
                changed = changed_config(config, scale, dataset, system, seed, tuning.trials[name])
                if changed is None:
                    continue
                folder = ROOT / scale / dataset / system / _slug(name) / f"seed{seed}"
                row = try_one(folder, changed, minutes or tuning.minutes, device)
                add_row(out, {"dataset": dataset, "system": system, "trial": name, **row, "seed": seed})
                print(f"{dataset} {system:16} {name:28} {row['validation_bits_per_dim']:.4f}", flush=True)


def _trained(config: Config) -> list[str]:
    """The systems that are trained by gradient steps."""
    from marscf.models import model_class

    return [name for name, system in config.systems.items() if not model_class(system.model).closed_form]


def _slug(name: str) -> str:
    return "".join(letter if letter.isalnum() else "-" for letter in name)


def changed_config(
    config: Config, scale: str, dataset: str, system: str, seed: int, trial: Trial
) -> RunConfig | None:
    """Return a run's config with a trial's changes, or None where it changes nothing or an unknown option."""
    resolved = resolve(config, scale, dataset, system, seed)
    options = resolved.options
    if any(name not in options or options[name] == value for name, value in trial.options.items()):
        return None
    times = {name: _times(getattr(resolved.training, name), factor) for name, factor in trial.times.items()}
    changed = replace(resolved, options={**options, **trial.options})
    return with_training(changed, **times, **trial.training)


def _times(value: float, factor: float) -> float:
    """The product, in the type of `value`; of whole numbers at least 1."""
    return max(1, int(value * factor)) if isinstance(value, int) else value * factor


def with_training(config: RunConfig, **settings: Any) -> RunConfig:
    """Return a config with other settings of training; raises `ConfigError` for an unknown one."""
    values = config.to_json()
    return RunConfig.from_json({**values, "training": {**values["training"], **settings}}, str(FILE))


def try_one(folder: Path, config: RunConfig, minutes: float, device: str) -> dict[str, Any]:
    """Train a run for so many minutes of processor time and return what it reached, as a row.

    The time of a step is measured first; the run then has as many steps as fit.
    """

    def trained(name: str, **training: Any) -> tuple[dict[str, Any], float]:
        write_json(folder / name / CONFIG, with_training(config, **training).to_json())
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
        "batch_size": config.training.batch_size,
        "images": steps * config.training.batch_size,
        "learning_rate": config.training.learning_rate,
        "host": receipt["host"]["gpu"] or receipt["host"]["cpu"],
    }


def read_rows(path: Path) -> list[dict[str, Any]]:
    """Return the rows of a table of trials, none where there is no file."""
    if not path.is_file():
        return []
    with open(path, newline="", encoding="utf-8") as stream:
        return list(csv.DictReader(stream))


def markdown(rows: list[dict[str, Any]]) -> str:
    """Return a table for each dataset and host: a line per trial, a column per system.

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


def add_row(path: Path, row: dict[str, Any]) -> None:
    """Add a trial to the table, which other processes may be adding to."""
    with locked(path.parent):
        write_rows(path, [*read_rows(path), row])


def write_rows(path: Path, rows: list[dict[str, Any]]) -> None:
    """Write the table of trials."""
    text = io.StringIO(newline="")
    writer = csv.DictWriter(text, COLUMNS, lineterminator="\n")
    writer.writeheader()
    writer.writerows(rows)
    with replacing(path) as temporary:
        temporary.write_text(text.getvalue(), encoding="utf-8")
