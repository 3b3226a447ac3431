"""Train a run to its end: go on where it stopped, or give a finished one its receipt back."""

import sys
from pathlib import Path
from typing import Any

from marscf.data.arrays import read_manifest
from marscf.runs import run_config
from marscf.training import receipt
from marscf.training.interrupt import Stop


def train_run(path: str | Path, device: str = "auto", stop: Stop | None = None) -> dict[str, Any]:
    """Train a run until it is finished and return its receipt.

    Raises `Interrupted` when stopped (everything is saved), `ConfigError` and `DataError` for bad input,
    `MarscfError` where the disk is full or training diverges for good.
    """
    folder = Path(path)
    config = run_config(folder)
    data_digest = read_manifest(config.dataset)["digest"]
    if finished := receipt.restore(folder, config, data_digest):
        print(f"marscf train: {folder} is finished ({finished['steps']} steps)", file=sys.stderr)
        return finished
    from marscf.training.train import train

    return train(folder, config, data_digest, device, stop or Stop())
