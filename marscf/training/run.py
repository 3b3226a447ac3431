"""Train a run to its end: go on where it stopped, or give a finished one its receipt back."""

import sys
from dataclasses import fields
from pathlib import Path
from typing import Any

from marscf.code import behind
from marscf.data.arrays import dataset_of
from marscf.errors import ConfigError, MarscfError
from marscf.files import read_json, remove_leftovers, seed_from
from marscf.runs import (
    CONFIG,
    FINISHED,
    RECEIPT,
    altered_receipt,
    config_hash,
    other_code,
    receipts,
    run_config,
    sound_receipt,
)
from marscf.settings import NAMES, RunConfig, TrainingSettings
from marscf.training import receipt
from marscf.training.interrupt import Stop

CODE = "state-code.json"  # beside the states: which code trained them, by config and data


def train_run(
    path: str | Path, device: str = "auto", stop: Stop | None = None, again: bool = False
) -> dict[str, Any]:
    """Train a run until it is finished and return its receipt; a finished one only where it is to be `again`.

    `again` begins anew, also where another call began; called once more, it goes on with what it began, but
    where code was edited since.

    Raises `Interrupted` when stopped (everything is saved), `ConfigError` and `DataError` for bad input,
    `MarscfError` where the disk is full or training diverges for good.
    """
    folder = Path(path)
    config = run_config(folder)
    _check_own(folder)
    data_digest = dataset_of(config)["digest"]
    if not again:
        _check_receipts(folder)
    finished = receipt.restore(folder, config, data_digest)
    if finished and not again:
        remove_leftovers(folder, RECEIPT, FINISHED)
        line = f"{folder} is finished ({finished['steps']} steps)"
        print(f"marscf train: {other_code(folder, config.model) or line}", file=sys.stderr)
        return finished
    from marscf.training.train import ASIDE, train

    anew = bool(finished)
    if again and not finished and any(folder.glob("state-*.pt")):  # begun, maybe by a call like this
        codes = (known_codes(folder) or {}).get(identity(config, data_digest), [])
        anew = not (folder / ASIDE).exists() or codes[-1:] != [behind("train", config.model)]
    return train(folder, config, data_digest, device, stop or Stop(), anew)


def known_codes(folder: Path) -> dict[str, list[str]] | None:
    """What `CODE` of a run holds, None where it is not there."""
    path = folder / CODE
    return read_json(path) if path.is_file() else None


def identity(config: RunConfig, data_digest: str) -> str:
    """The name that a training has in `CODE`."""
    return f"{config_hash(config)}-{data_digest}"


def _check_receipts(folder: Path) -> None:
    """Delete of a receipt and its twin the one that was altered; raise `MarscfError` where both may be."""
    found = {folder / name: sound_receipt(folder / name) for name in receipts(folder)}
    sound = [content for content in found.values() if content is not None]
    if (found and not sound) or any(content != sound[0] for content in sound):
        raise MarscfError(altered_receipt(folder))
    for path, content in found.items():
        if content is None:
            path.unlink()


def _imported_from(folder: Path) -> str | None:
    path = folder / RECEIPT
    return read_json(path).get("imported_from") if path.is_file() else None


def _check_own(folder: Path) -> None:
    """Raise `ConfigError` where a run's own `config.json` leaves open what is to be trained.

    What reads weights may fill in defaults, because the weights are there. A training can not: it would
    train something else than was meant.
    """
    path = folder / CONFIG
    if not path.is_file():
        return
    values = read_json(path)
    if origin := _imported_from(folder):
        raise ConfigError(f"{folder} holds weights imported from {origin}; train in another folder")
    for field in fields(TrainingSettings):
        if field.name not in values.get("training", {}):
            raise ConfigError(
                f"{path}: training: there is no {field.name!r} (default: {field.default!r}); add it"
            )
    seed_value = seed_from(*(values[name] for name in NAMES))
    if values.get("seed_value", seed_value) != seed_value:
        raise ConfigError(
            f"{path}: seed_value: {values['seed_value']} does not belong to seed {values['seed']}; "
            f"leave it out, or write {seed_value}"
        )
