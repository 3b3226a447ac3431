"""A run is a folder, `data/runs/<scale>/<dataset>/<system>/seed<k>`: its path says what it is."""

import json
import re
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any

from marscf.errors import ConfigError, MarscfError
from marscf.options import declared_options
from marscf.settings import Training

ROOT = Path("data/runs")
DATASETS = Path("data/datasets")

RECEIPT = "receipt.json"  # left by a finished training
FINISHED = "finished.json"  # its twin, see marscf.training.receipt
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


def completed(config: dict[str, Any]) -> dict[str, Any]:
    """Return a run's config, as JSON values, with the defaults of the options and settings it does not name.

    A run made before an option existed says nothing of it, and was made as its default now says. So two
    configs are of the same run where they are equal when completed.
    """
    try:
        declared = declared_options(config["model"])
    except (ConfigError, KeyError):  # the model is not here: nothing is known of it
        declared = {}
    options = {name: default for name, (_, default) in declared.items() if default is not ...}
    training = {field.name: field.default for field in fields(Training)}
    filled = {
        section: {**known, **config.get(section, {})}
        for section, known in (("options", options), ("training", training))
    }
    return json.loads(json.dumps({**config, **filled}))


def recorded_config(path: str | Path, receipt: dict[str, Any]) -> dict[str, Any] | None:
    """Return the config that a run was trained with, from its receipt or its weights; None without both."""
    if config := receipt.get("config"):
        return config
    from marscf.models import WEIGHTS, read_header

    try:
        return read_header(Path(path) / WEIGHTS)
    except MarscfError:
        return None


def identity(path: str | Path, config: dict[str, Any]) -> str:
    """Return the hash of a run's config, which is the receipt's where that is of the same config.

    So an option that is added to the code, with a default, changes no identity of a run that is there.
    """
    from marscf.files import read_json

    for name in (FINISHED, RECEIPT):
        try:
            receipt = read_json(Path(path) / name)
            recorded = recorded_config(path, receipt)
            if recorded is not None and completed(recorded) == completed(config):
                return receipt["config_hash"]
        except (MarscfError, KeyError, TypeError, AttributeError):
            continue
    return config_hash(config)


def config_hash(config: dict[str, Any]) -> str:
    """The hash of a run's config: 16 hex digits."""
    from marscf.files import digest

    return digest(config)[:16]


def difference(old: Any, new: Any, place: str = "") -> str:
    """Name the first place where two configs differ: `training.learning_rate: 0.002, now 0.001`."""
    if isinstance(old, dict) and isinstance(new, dict):
        for key in sorted(old.keys() | new.keys()):
            if old.get(key) != new.get(key):
                return difference(old.get(key), new.get(key), f"{place}.{key}" if place else key)
    return f"{place}: {old!r}, now {new!r}"
