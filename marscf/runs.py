"""A run is a folder, `data/runs/<scale>/<dataset>/<system>/seed<k>`: its path says what it is."""

import re
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from marscf.errors import ConfigError

ROOT = Path("data/runs")
DATASETS = Path("data/datasets")

RECEIPT = "receipt.json"  # left by a finished training
CONFIG = "config.json"  # in a run that came with its own config: imported, or carried to another machine


@dataclass(frozen=True)
class Run:
    """The four names of a run."""

    scale: str
    dataset: str
    system: str
    seed: int

    @classmethod
    def from_path(cls, path: str | Path) -> "Run":
        """Read the names off a run's own `config.json`, else off its folder's path.

        Raises `ConfigError` where there is no `config.json` and the path has another form.
        """
        if (Path(path) / CONFIG).is_file():
            config = run_config(path)
            return cls(config["scale"], config["dataset"], config["system"], config["seed"])
        match = re.search(r"([^/]+)/([^/]+)/([^/]+)/seed(\d+)/?$", str(path))
        if not match:
            raise ConfigError(f"{path} is no run; a run is {ROOT}/<scale>/<dataset>/<system>/seed<k>")
        scale, dataset, system, seed = match.groups()
        return cls(scale, dataset, system, int(seed))

    @property
    def path(self) -> Path:
        """The run's folder under `data/runs`."""
        return ROOT / self.scale / self.dataset / self.system / f"seed{self.seed}"


def run_config(path: str | Path) -> dict[str, Any]:
    """The resolved config of a run: its own `config.json` where it has one, else from `config/`."""
    from marscf.files import read_json

    own = Path(path) / CONFIG
    if own.is_file():
        return read_json(own)
    from marscf.config import load_config, resolve

    run = Run.from_path(path)
    return resolve(load_config(), run.scale, run.dataset, run.system, run.seed)


def config_hash(config: dict[str, Any]) -> str:
    """The identity of a run's config: 16 hex digits."""
    from marscf.files import digest

    return digest(config)[:16]


def difference(old: Any, new: Any, place: str = "") -> str:
    """Name the first place where two configs differ: `training.learning_rate: 0.002, now 0.001`."""
    if isinstance(old, dict) and isinstance(new, dict):
        for key in sorted(old.keys() | new.keys()):
            if old.get(key) != new.get(key):
                return difference(old.get(key), new.get(key), f"{place}.{key}" if place else key)
    return f"{place}: {old!r}, now {new!r}"
