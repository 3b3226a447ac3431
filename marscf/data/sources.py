"""Where a dataset's source files come from: a mirror, or their publishers."""

import os
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from marscf.config import Dataset, Source
from marscf.errors import DataError
from marscf.files import sha256_file


@dataclass(frozen=True)
class Found:
    """A source file on this machine."""

    path: Path
    origin: str  # "mirror" or the address it was downloaded from
    sha256: str
    verified: bool  # its checksum is the publisher's

    def provenance(self) -> dict[str, Any]:
        """What the manifest says about it."""
        return {
            "file": self.path.name,
            "bytes": os.stat(self.path).st_size,
            "sha256": self.sha256,
            "from": self.origin,
            "verified": "checksum" if self.verified else "digest of the decoded images",
        }


def obtain(dataset: Dataset, folder: Path, mirror: str | None, offline: bool) -> dict[str, Found]:
    """Return all source files of a dataset, from `mirror`; raises `DataError` naming one that is not there."""
    return {name: _find(dataset, source, mirror) for name, source in dataset.sources.items()}


def _find(dataset: Dataset, source: Source, mirror: str | None) -> Found:
    path = Path(mirror or "") / (dataset.mirror_name or dataset.name) / source.file
    if not mirror or not path.is_file():
        raise DataError(f"no file {path}; put it there or choose another --mirror")
    sha256 = sha256_file(path)
    return Found(path, "mirror", sha256, sha256 == source.sha256)
