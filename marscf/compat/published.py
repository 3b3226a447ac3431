"""The checkpoints that public codes published: fetched, listed, and imported as the runs of a scale.

index.json   the runs, the files that were left out and why, the checkpoints that could not be fetched
first.json   the digest of each file when it was fetched first; another one has to be accepted by name
"""

import zipfile
from collections import Counter
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

from marscf.compat.code import Foreign
from marscf.compat.importing import import_checkpoint, inspect
from marscf.compat.index import FIRST, FOLDER, INDEX, Published, published_runs
from marscf.compat.torch_file import BLOCK, LARGEST_FILE
from marscf.config import Checkpoint, Config
from marscf.data.sources import Store
from marscf.data.untrusted.unpack import check_name, copy_member, open_zip
from marscf.errors import CheckpointError, MarscfError, nearest
from marscf.files import locked, read_json, replacing, write_json
from marscf.runs import Run

MOST_MEMBERS = 1000  # checkpoints in an archive
LARGEST_RATIO = 20  # of unpacked to packed bytes: weights hardly get smaller


def fetch(
    config: Config, scale: str, store: Store, accepted: tuple[str, ...] = (), folder: Path = FOLDER
) -> dict[str, Any]:
    """Fetch the published checkpoints, and write and return the index.

    A file that differs from the one that was fetched first is refused, unless its checkpoint is `accepted`.
    Raises `MarscfError` where there is no checkpoint at all.
    """
    readable: list[Published] = []
    left: list[dict[str, str]] = []
    missing: list[dict[str, str]] = []
    with locked(folder):
        for checkpoint in config.checkpoints.values():
            try:
                source = store.find(checkpoint.name, checkpoint.source)
                _compare_with_first(checkpoint, source.sha256, accepted, folder)
                files, unread = _files(checkpoint, source.path, folder)
            except MarscfError as error:
                missing.append({"checkpoint": checkpoint.name, "reason": str(error)})
                continue
            for file in files:
                try:
                    of = inspect(file)
                    config.dataset(of.dataset)
                    readable.append(Published("", checkpoint.name, source.sha256, file, of))
                except MarscfError as error:
                    unread.append({"file": file.published_name, "reason": str(error)})
            left += [{"checkpoint": checkpoint.name, **entry} for entry in unread]
        if not readable:
            reasons = "; ".join(entry["reason"] for entry in [*missing, *left])
            raise MarscfError(f"no published checkpoint can be read: {reasons[:1000] or 'none is declared'}")
        runs = [entry.to_json() for entry in _as_runs(readable, scale)]
        index = {"runs": runs, "left": left, "missing": missing}
        write_json(folder / INDEX, index)
    return index


def _as_runs(readable: list[Published], scale: str) -> Iterator[Published]:
    """Yield what was read with its run.

    Several of one system and dataset are told apart as seeds are, the largest first.
    """
    numbers: Counter[tuple[str, str]] = Counter()
    for entry in sorted(readable, key=lambda entry: -entry.foreign.path.stat().st_size):
        dataset, system = entry.config.dataset, entry.config.system
        number = numbers[dataset, system]
        numbers[dataset, system] += 1
        foreign, run = replace(entry.foreign, seed=number), Run(scale, dataset, system, number)
        of = inspect(foreign) if number else entry.config  # the seed is part of it
        yield replace(entry, run=str(run.path), foreign=foreign, config=of)


def _compare_with_first(checkpoint: Checkpoint, sha256: str, accepted: tuple[str, ...], folder: Path) -> None:
    """Note the digest of a file that is fetched first; raise `CheckpointError` for another one later."""
    path = folder / FIRST
    first: dict[str, str] = read_json(path) if path.exists() else {}
    if not isinstance(first, dict) or not all(isinstance(digest, str) for digest in first.values()):
        raise CheckpointError(
            f"{path} is no list of digests; delete it, and every file counts as a first one"
        )
    known = checkpoint.source.sha256 or first.get(checkpoint.name)
    if known is not None and known != sha256 and checkpoint.name not in accepted:
        raise CheckpointError(
            f"{checkpoint.source.file} has the digest {sha256[:16]}…, and had {known[:16]}… at first; "
            f"look why, then: marscf checkpoints --accept {checkpoint.name}"
        )
    if first.get(checkpoint.name) != sha256:
        write_json(path, {**first, checkpoint.name: sha256})


def _files(checkpoint: Checkpoint, path: Path, folder: Path) -> tuple[list[Foreign], list[dict[str, str]]]:
    """Return the checkpoints in a fetched file, and the members of an archive that can't be unpacked."""
    if checkpoint.suffix is None:
        return [Foreign(path, checkpoint.code)], []
    endings = (checkpoint.suffix, *([checkpoint.hparams] if checkpoint.hparams else []))
    found: dict[str, Path] = {}
    left: list[dict[str, str]] = []
    with open_zip(path, path) as archive:
        members = [info for info in archive.infolist() if info.filename.endswith(endings)]
        if len(members) > MOST_MEMBERS:
            raise CheckpointError(f"{path}: it has more than {MOST_MEMBERS} files {' and '.join(endings)}")
        for info in members:
            name = Path(info.filename).name
            try:
                if name in found:
                    raise CheckpointError(f"{path}: another file of it has the name {name!r}")
                found[name] = _unpack(archive, info, folder / checkpoint.name / name, path)
            except MarscfError as error:
                left.append({"file": info.filename, "reason": str(error)})
    hparams = [found.pop(name) for name in list(found) if not name.endswith(checkpoint.suffix)]
    if not found and not left:
        raise CheckpointError(f"{path}: no file {checkpoint.suffix} in it")
    of = hparams[0] if hparams else None
    return [Foreign(found[name], checkpoint.code, hparams=of) for name in sorted(found)], left


def _unpack(archive: zipfile.ZipFile, info: zipfile.ZipInfo, target: Path, place: Path) -> Path:
    """Write a member of a zip to a file; raises `MarscfError` where it is unsafe, damaged or a bomb."""
    check_name(info.filename, place)
    if info.file_size > LARGEST_RATIO * info.compress_size + BLOCK or info.file_size > LARGEST_FILE:
        raise CheckpointError(f"{info.filename!r} unpacks to {info.file_size:,} bytes, more than weights do")
    with replacing(target) as temporary, open(temporary, "wb") as copy:
        copy_member(archive, info, copy, place)
    return target


def import_published(run: str, folder: Path = FOLDER) -> dict[str, Any]:
    """Import a run of the index into its folder and return its receipt."""
    known = {entry.run: entry for entry in published_runs(folder)}
    if run not in known:
        raise CheckpointError(f"{run} is not a run of a published checkpoint{nearest(run, known)}")
    if inspect(known[run].foreign) != known[run].config:
        raise CheckpointError(
            f"{known[run].foreign.path} is no longer what was listed; list it again: marscf checkpoints"
        )
    return import_checkpoint(known[run].foreign, run, again=True)
