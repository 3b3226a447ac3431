"""The same trials for every system, each in the same processor time, by validation bits/dim.

A comparison is fair where each system had its settings chosen with equal care. The trials of
`config/tuning.yaml` change one thing each; the test images are never looked at.
"""

import csv
import io
from dataclasses import fields, replace
from pathlib import Path
from typing import Any

from pydantic import Field

from marscf.code import behind
from marscf.config import Config, Strict, load_config, parse, read_yaml, resolve
from marscf.errors import ConfigError, nearest
from marscf.files import digest, locked, replacing, write_json
from marscf.runs import CONFIG, other_code
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
    *("learning_rate", "seed", "host", "identity", "settings"),
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
    """Try what has not been tried, and print and write each result; None stands for all.

    A trial is known where it was tried with the same config, code, minutes and changes. Raises
    `ConfigError` for an unknown name, and where a run has no validation images to judge it by.
    """
    config, tuning = load_config(), parse(Tuning, read_yaml(FILE), str(FILE))
    out, time_each = table(scale), minutes or tuning.minutes
    for name in trials or ():
        if name not in tuning.trials:
            raise ConfigError(f"no trial {name!r} in {FILE}{nearest(name, tuning.trials)}")
    place, made_by = ("dataset", "system", "trial"), ("identity", "settings")
    rows = read_rows(out)
    done = {tuple(row[key] for key in (*place, *made_by)): row for row in rows}
    newest = {tuple(row[key] for key in place): row for row in rows}
    for dataset in datasets or config.scale(scale).datasets:
        for system in systems or _trained(config):
            own = resolve(config, scale, dataset, system, seed)
            if not own.training.validates:
                raise ConfigError(f"scale {scale} validates nothing, so trials can't be judged; take another")
            identity = digest([own.to_json(), time_each, behind("train", own.model)])[:16]
            for name in trials or tuning.trials:
                changed = changed_config(own, tuning.trials[name])
                if changed is None:
                    continue
                settings = digest(changed.to_json())[:16]
                known = done.get((dataset, system, name, identity, settings))
                folder = ROOT / scale / dataset / system / _slug(name) / f"seed{seed}"
                row = known or try_one(folder, changed, time_each, device)
                if not known or known is not newest[dataset, system, name]:
                    names = {"dataset": dataset, "system": system, "trial": name}
                    add_row(out, {**names, **row, "seed": seed, "identity": identity, "settings": settings})
                bits = float(row["validation_bits_per_dim"])
                print(f"{dataset} {system:16} {name:28} {bits:.4f}{' (known)' if known else ''}", flush=True)


def _trained(config: Config) -> list[str]:
    """The systems that are trained by gradient steps."""
    from marscf.models import model_class

    return [name for name, system in config.systems.items() if not model_class(system.model).closed_form]


def _slug(name: str) -> str:
    return "".join(letter if letter.isalnum() else "-" for letter in name)


def changed_config(resolved: RunConfig, trial: Trial) -> RunConfig | None:
    """Return a run's config with a trial's changes, or None where it changes nothing or an unknown option.

    Raises `ConfigError` for an unknown setting of training.
    """
    options = resolved.options
    if any(name not in options or options[name] == value for name, value in trial.options.items()):
        return None
    for name in trial.times:
        if not isinstance(getattr(resolved.training, name, None), int | float):
            settings = [field.name for field in fields(resolved.training)]
            raise ConfigError(f"{FILE}: times: {name!r} is no number of training{nearest(name, settings)}")
    times = {name: _times(getattr(resolved.training, name), factor) for name, factor in trial.times.items()}
    changed = replace(resolved, options={**options, **trial.options})
    return with_training(changed, **times, **trial.training)


def _times(value: float, factor: float) -> float:
    """The product, in the type of `value`; of whole numbers at least 1."""
    return max(1, int(value * factor)) if isinstance(value, int) else value * factor


def with_training(config: RunConfig, **settings: Any) -> RunConfig:
    """Return a config with other settings of training; raises `ConfigError` for an unknown one."""
    values = config.to_json()
    if settings.get("augment") is not None:
        values["data"]["augment"] = settings["augment"]
    return RunConfig.from_json({**values, "training": {**values["training"], **settings}}, str(FILE))


def try_one(folder: Path, config: RunConfig, minutes: float, device: str) -> dict[str, Any]:
    """Train a run for so many minutes of processor time and return what it reached, as a row.

    The time of a step is measured first; the run then has as many steps as fit.
    """

    def trained(name: str, **training: Any) -> dict[str, Any]:
        write_json(folder / name / CONFIG, with_training(config, **training).to_json())
        again = other_code(folder / name, config.model) is not None
        return train_run(folder / name, device, again=again)

    few = {"validation_images": 1, "validate_every": PACE_STEPS, "checkpoint_every": 10**9}
    pace = trained("pace", steps=PACE_STEPS, **few)
    steps = max(10, round(60 * minutes / pace["cpu_seconds"] * PACE_STEPS))
    every = -(-steps // VALIDATIONS)
    receipt = trained("run", steps=steps, validate_every=every, checkpoint_every=10**9)
    return {
        "validation_bits_per_dim": receipt["best_validation_bits_per_dim"],
        "cpu_minutes": round(receipt["cpu_seconds"] / 60, 2),
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
        return [{**dict.fromkeys(COLUMNS), **row} for row in csv.DictReader(stream)]


def markdown(rows: list[dict[str, Any]]) -> str:
    """Return a table for each dataset and host: a line per trial, a column per system.

    A system's trials are of one config, code and time: the newest that "as it is" was tried with. That line
    shows validation bits/dim, the other lines how far they are from it.
    """
    text = []
    for dataset, host in dict.fromkeys((row["dataset"], row["host"]) for row in rows):
        of = [row for row in rows if (row["dataset"], row["host"]) == (dataset, host)]
        newest = {row["system"]: row["identity"] for row in of}
        newest |= {row["system"]: row["identity"] for row in of if row["trial"] == BASE}
        of = [row for row in of if row["identity"] == newest[row["system"]]]
        systems = list(newest)
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
    """Put a trial at the end of the table, which other processes may be adding to; it is there once."""
    row = {name: str(row[name]) for name in COLUMNS}
    with locked(path.parent):
        write_rows(path, [*(other for other in read_rows(path) if other != row), row])


def write_rows(path: Path, rows: list[dict[str, Any]]) -> None:
    """Write the table of trials."""
    text = io.StringIO(newline="")
    writer = csv.DictWriter(text, COLUMNS, lineterminator="\n")
    writer.writeheader()
    writer.writerows(rows)
    with replacing(path) as temporary:
        temporary.write_text(text.getvalue(), encoding="utf-8")
