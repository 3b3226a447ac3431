"""The checkpoints that public codes published: fetched, listed, and imported as the runs of a scale.

index.json   the runs, the files that were left out and why, the checkpoints that could not be fetched
first.json   the digest of each file when it was fetched first; another one has to be accepted by name
"""

import shutil
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from marscf.compat.code import Foreign
from marscf.compat.importing import import_checkpoint, inspect
from marscf.compat.index import FIRST, FOLDER, INDEX, Published, published_runs
from marscf.config import Checkpoint, Config
from marscf.data.sources import Store
from marscf.data.untrusted.unpack import read_zip
from marscf.errors import CheckpointError, MarscfError, nearest
from marscf.files import locked, read_json, replacing, write_json
from marscf.runs import Run


def fetch(
    config: Config, scale: str, store: Store, accepted: tuple[str, ...] = (), folder: Path = FOLDER
) -> dict[str, Any]:
    """Fetch the published checkpoints, and write and return the index.

    A file that differs from the one that was fetched first is refused, unless its checkpoint is `accepted`.
    Raises `MarscfError` where there is no checkpoint at all.
    """
    found: list[Published] = []
    left: list[dict[str, str]] = []
    missing: list[dict[str, str]] = []
    numbers: Counter[tuple[str, str]] = (
        Counter()
    )  # several of one system and dataset are told apart as seeds are
    with locked(folder):
        for checkpoint in config.checkpoints.values():
            try:
                source = store.find(checkpoint.name, checkpoint.source)
                _compare_with_first(checkpoint, source.sha256, accepted, folder)
                files = _files(checkpoint, source.path, folder)
            except MarscfError as error:
                missing.append({"checkpoint": checkpoint.name, "reason": str(error)})
                continue
            for file in files:
                try:
                    of = inspect(file)
                    config.dataset(of.dataset)
                except MarscfError as error:
                    name = file.published_name
                    left.append({"checkpoint": checkpoint.name, "file": name, "reason": str(error)})
                    continue
                number = numbers[of.dataset, of.system]
                numbers[of.dataset, of.system] += 1
                run = Run(scale, of.dataset, of.system, number)
                foreign = replace(file, seed=number)
                of = inspect(foreign)
                found.append(Published(str(run.path), checkpoint.name, source.sha256, foreign, of))
        if not found:
            reasons = "; ".join(entry["reason"] for entry in [*missing, *left])
            raise MarscfError(f"no published checkpoint can be read: {reasons[:1000] or 'none is declared'}")
        index = {"runs": [entry.to_json() for entry in found], "left": left, "missing": missing}
        write_json(folder / INDEX, index)
    return index


def _compare_with_first(checkpoint: Checkpoint, sha256: str, accepted: tuple[str, ...], folder: Path) -> None:
    """Note the digest of a file that is fetched first; raise `CheckpointError` for another one later."""
    path = folder / FIRST
    first: dict[str, str] = read_json(path) if path.is_file() else {}
    known = checkpoint.source.sha256 or first.get(checkpoint.name)
    if known is not None and known != sha256 and checkpoint.name not in accepted:
        raise CheckpointError(
            f"{checkpoint.source.file} has the digest {sha256[:16]}…, and had {known[:16]}… at first; "
            f"look why, then: marscf checkpoints --accept {checkpoint.name}"
        )
    if first.get(checkpoint.name) != sha256:
        write_json(path, {**first, checkpoint.name: sha256})


def _files(checkpoint: Checkpoint, path: Path, folder: Path) -> list[Foreign]:
    """Return the checkpoints in a fetched file."""
    if checkpoint.suffix is None:
        return [Foreign(path, checkpoint.code)]
    inside = folder / checkpoint.name
    found = sorted(_unpack(path, checkpoint.suffix, inside))
    if not found:
        raise CheckpointError(f"{path}: no file {checkpoint.suffix} in it")
    hparams = None
    if checkpoint.hparams is not None:
        hparams = next(_unpack(path, checkpoint.hparams, inside), None)
    return [Foreign(file, checkpoint.code, hparams=hparams) for file in found]


def _unpack(archive: Path, suffix: str, target: Path) -> Iterator[Path]:
    """Write the members of a zip whose names end so into one folder, by the last part of their names."""
    for name, stream in read_zip(archive, archive, suffix):
        path = target / Path(name).name
        with replacing(path) as temporary, open(temporary, "wb") as copy:
            shutil.copyfileobj(stream, copy, 1 << 20)
        yield path


def import_published(run: str, folder: Path = FOLDER) -> dict[str, Any]:
    """Import a run of the index into its folder and return its receipt."""
    known = {entry.run: entry for entry in published_runs(folder)}
    if run not in known:
        raise CheckpointError(f"{run} is not a run of a published checkpoint{nearest(run, known)}")
    return import_checkpoint(known[run].foreign, run, again=True)
