"""A run is a folder, `data/runs/<scale>/<dataset>/<system>/seed<k>`: its path says what it is."""

import re
from dataclasses import dataclass, fields, replace
from pathlib import Path
from typing import Any

from marscf.code import behind
from marscf.errors import ConfigError, MarscfError
from marscf.files import digest, read_json
from marscf.settings import RunConfig, TrainingSettings

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
        if config := own_config(path):
            return cls(config.scale, config.dataset, config.system, config.seed)
        match = re.search(r"([^/]+)/([^/]+)/([^/]+)/seed(\d+)/?$", str(path))
        if not match:
            raise ConfigError(f"{path} is no run; a run is {ROOT}/<scale>/<dataset>/<system>/seed<k>")
        scale, dataset, system, seed = match.groups()
        return cls(scale, dataset, system, int(seed))

    @property
    def path(self) -> Path:
        """The run's folder under `data/runs`."""
        return ROOT / self.scale / self.dataset / self.system / f"seed{self.seed}"


def signed(receipt: dict[str, Any]) -> dict[str, Any]:
    """Return a receipt with a digest of itself."""
    content = {name: value for name, value in receipt.items() if name != "digest"}
    return {**content, "digest": digest(content)}


def read_receipt(path: str | Path) -> dict[str, Any]:
    """Return the receipt of a run's folder.

    Raises `MarscfError` where it is missing, or is not what its own digest says, or what its twin says.
    """
    folder = Path(path)
    if not (folder / RECEIPT).is_file():
        raise MarscfError(f"no {folder / RECEIPT}; run: marscf train {folder}")
    receipt, *twins = [sound_receipt(folder / name) for name in receipts(folder)]
    if receipt is None or any(twin != receipt for twin in twins):
        raise MarscfError(altered_receipt(folder))
    return receipt


def receipts(folder: Path) -> list[str]:
    """Return which of a run's receipt and its twin are there."""
    return [name for name in (RECEIPT, FINISHED) if (folder / name).is_file()]


def sound_receipt(path: Path) -> dict[str, Any] | None:
    """Return a receipt, None where it can't be read, or is not what its own digest says."""
    try:
        receipt = read_json(path)
    except MarscfError:
        return None
    sound = isinstance(receipt, dict) and ("digest" not in receipt or receipt == signed(receipt))
    return receipt if sound else None


def altered_receipt(folder: Path) -> str:
    """Return the words that say so."""
    names = receipts(folder)
    imported = any(b'"imported_from"' in (folder / name).read_bytes() for name in names)
    again = f"marscf checkpoints --run {folder}" if imported else f"marscf train {folder} --again"
    return f"{folder}: {' or '.join(names)} was altered; put the right one back, or run: {again}"


def own_config(path: str | Path) -> RunConfig | None:
    """Return the config of a run's own `config.json`, None where it has none."""
    own = Path(path) / CONFIG
    return RunConfig.from_json(read_json(own), str(own)) if own.is_file() else None


def run_config(path: str | Path) -> RunConfig:
    """Return the config of a run: its own `config.json` where it has one, else from `config/`."""
    if config := own_config(path):
        return config
    from marscf.config import load_config, resolve  # needs pydantic, which a machine that trains may lack

    run = Run.from_path(path)
    return resolve(load_config(), run.scale, run.dataset, run.system, run.seed)


def recorded_config(path: str | Path, receipt: dict[str, Any]) -> RunConfig:
    """Return the config that a run was trained with, from its receipt, else from its weights."""
    if config := receipt.get("config"):
        return RunConfig.from_json(config, f"{path}: receipt")
    from marscf.models import WEIGHTS, read_header  # which imports the rest of this module

    return read_header(Path(path) / WEIGHTS)


def identity(path: str | Path, config: RunConfig) -> str:
    """Return the hash of a run's config, which is the receipt's where that is of the same config.

    So an option that is added to the code, with a default, changes no identity of a run that is there.
    """
    for name in (FINISHED, RECEIPT):
        try:
            receipt = read_json(Path(path) / name)
            if recorded_config(path, receipt) == config:
                return receipt["config_hash"]
        except (MarscfError, KeyError, TypeError, AttributeError):
            continue
    return config_hash(config)


def other_code(path: str | Path, model: str) -> str | None:
    """Return the line that says that a finished run was trained by other code than there is now, if so.

    None too where that is not known: of a receipt without the digest of its code.
    """
    try:
        receipt = read_json(Path(path) / FINISHED)
        same = receipt.get("code", now := behind("train", model)) == now
    except (MarscfError, AttributeError):
        return None
    if same:
        return None
    return f"{path} was trained by other code than there is now; marscf train {path} --again"


def config_hash(config: RunConfig) -> str:
    """The hash of a run's config: 16 hex digits."""
    return digest(config.to_json())[:16]


def difference(old: Any, new: Any, place: str = "") -> str:
    """Name the first place where two configs differ: `training.learning_rate: 0.002, now 0.001`.

    What makes no other training (see `TrainingSettings`) is no difference.
    """
    if isinstance(old, RunConfig) and isinstance(new, RunConfig):
        same = {
            part.name: getattr(new.training, part.name)
            for part in fields(TrainingSettings)
            if not part.compare
        }
        old = replace(old, training=replace(old.training, **same)).to_json()
        new = new.to_json()
    if isinstance(old, dict) and isinstance(new, dict):
        for key in sorted(old.keys() | new.keys()):
            if old.get(key) != new.get(key):
                return difference(old.get(key), new.get(key), f"{place}.{key}" if place else key)
    return f"{place}: {old!r}, now {new!r}"
