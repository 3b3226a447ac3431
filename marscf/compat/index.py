"""The index of the published checkpoints. It needs no torch: Snakemake reads it when it starts."""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from marscf.compat.code import Foreign
from marscf.files import read_json
from marscf.settings import RunConfig

FOLDER = Path("data/checkpoints")
INDEX = "index.json"
FIRST = "first.json"


@dataclass(frozen=True)
class Published:
    """One published checkpoint, and the run that it becomes.

    `source_sha256` is the digest of the file that was fetched: of the archive, where the checkpoint is
    inside one.
    """

    run: str  # folder
    checkpoint: str  # name in config/checkpoints
    source_sha256: str
    foreign: Foreign
    config: RunConfig

    def to_json(self) -> dict[str, Any]:
        """The entry of the index."""
        foreign = {
            name: str(value) if isinstance(value, Path) else value
            for name, value in vars(self.foreign).items()
        }
        return {**vars(self), "foreign": foreign, "config": self.config.to_json()}

    @classmethod
    def from_json(cls, entry: dict[str, Any]) -> "Published":
        """Read an entry of the index."""
        foreign = dict(entry["foreign"])
        paths = {name: Path(foreign[name]) for name in ("path", "hparams") if foreign[name] is not None}
        config = RunConfig.from_json(entry["config"], "index")
        return cls(**{**entry, "foreign": Foreign(**{**foreign, **paths}), "config": config})


def published_runs(folder: Path = FOLDER) -> list[Published]:
    """Return what the index lists; raises `MarscfError` where nothing was fetched."""
    return [Published.from_json(entry) for entry in read_json(folder / INDEX)["runs"]]
