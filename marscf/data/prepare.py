"""From verified sources to prepared arrays.

The one rule of order and of splits: images stand in the order of the SHA-256 of their record (one label
byte, 0 where there is none, then the decoded pixels, channel by channel). That order is random as to content
but the same wherever the archive came from. Of the training images the first `validation` are the validation
split; where the source has no test split, the first `test` images of all are carved off before them.
"""

import fcntl
import hashlib
import os
import shutil
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np

from marscf.config import Dataset
from marscf.data import arrays, formats
from marscf.data.sources import Found, obtain
from marscf.errors import DataError
from marscf.files import digest, sha256_file, write_json

CHUNK = 10_000  # images held in memory at once
WORK = ".preparing"  # inside a dataset's folder; whatever a killed call left there is removed by the next


class Collector:
    """Decoded images of one source split, kept in a file, with the hash of each record."""

    def __init__(self, path: Path):
        self.path = path
        self.shape: tuple[int, ...] | None = None
        self.hashes = bytearray()
        self.labels: list[np.ndarray] = []
        self.highest = 0

    def add(self, images: np.ndarray, labels: np.ndarray | None) -> None:
        """Append images `(n,c,h,w)` and their classes."""
        if self.shape not in (None, images.shape[1:]):
            raise DataError(f"images of {images.shape[1:]} among images of {self.shape}; make them one size")
        self.shape = images.shape[1:]
        images = np.ascontiguousarray(images)
        with open(self.path, "ab") as stream:
            stream.write(images.data)
        bytes_of = (
            labels if labels is not None and labels.dtype == np.uint8 else np.zeros(len(images), np.uint8)
        )
        for label, image in zip(bytes_of, images, strict=True):
            record = hashlib.sha256(bytes([label]))
            record.update(image.data)
            self.hashes += record.digest()
        if labels is not None:
            self.labels.append(np.array(labels))
        self.highest = max(self.highest, int(images.max(initial=0)))

    def __len__(self) -> int:
        return len(self.hashes) // 32

    @property
    def images(self) -> np.ndarray:
        """All images as a memory map, in the source's order."""
        return np.memmap(self.path, np.uint8, "r", shape=(len(self), *self.shape))

    @property
    def order(self) -> np.ndarray:
        """The images' places, sorted by the hash of their record."""
        words = np.frombuffer(bytes(self.hashes), ">u8").reshape(-1, 4)
        return np.lexsort(words.T[::-1])

    def digest(self, places: np.ndarray | None = None) -> str:
        """Order-independent digest: SHA-256 over the sorted SHA-256 of each record."""
        hashes = np.frombuffer(bytes(self.hashes), "V32")
        chosen = hashes if places is None else hashes[places]
        return hashlib.sha256(b"".join(sorted(chosen.tolist()))).hexdigest()


def prepare(
    dataset: Dataset,
    root: Path,
    mirror: str | None = None,
    offline: bool = False,
) -> tuple[dict[str, Any], bool]:
    """Make a dataset's arrays and manifest under `root/<dataset>`; return the manifest and whether they are new.

    Verified arrays are left untouched. Raises `DataError` naming what is missing, altered or of another form.
    """
    folder = root / dataset.name
    with _locked(folder):
        if manifest := _prepared(dataset, root):
            return manifest, False
        work = folder / WORK
        shutil.rmtree(work, ignore_errors=True)
        work.mkdir()
        try:
            found = obtain(dataset, root.parent / "sources", mirror, offline)
            manifest = _decode(dataset, found, work)
            _publish(work, folder)
            return manifest, True
        finally:
            shutil.rmtree(work, ignore_errors=True)


def recipe(dataset: Dataset) -> str:
    """Hash of all in a dataset's YAML that its arrays depend on."""
    keys = {"name", "format", "shape", "grey_levels", "validation", "options", "digests"}
    return digest(dataset.model_dump(mode="json", include=keys))[:16]


def _prepared(dataset: Dataset, root: Path) -> dict[str, Any] | None:
    try:
        manifest = arrays.read_manifest(dataset.name, root)
        for split, entry in manifest["splits"].items():
            arrays.open_split(dataset.name, split, root)
            if entry.get("labels"):
                arrays.open_labels(dataset.name, split, root)
    except DataError:
        return None
    return manifest if manifest.get("recipe") == recipe(dataset) else None


def _decode(dataset: Dataset, found: dict[str, Found], work: Path) -> dict[str, Any]:
    collectors: dict[str, Collector] = {}
    options = {key: value for key, value in dataset.options.items() if key != "test"}
    for split, images, labels in formats.parser(dataset.format)(
        {k: f.path for k, f in found.items()}, **options
    ):
        for start in range(0, len(images), CHUNK):
            stop = start + CHUNK
            part = collectors.setdefault(split, Collector(work / f"{split}.raw"))
            part.add(images[start:stop], None if labels is None else labels[start:stop])
    source_digests = {split: part.digest() for split, part in collectors.items()}
    _check(dataset, collectors, found, source_digests)
    splits = {}
    for split, part, places in _carve(dataset, collectors):
        splits[split] = _write(dataset, split, part, places, work)
    manifest = {
        "name": dataset.name,
        "shape": list(dataset.shape),
        "grey_levels": dataset.grey_levels,
        "release": None,
        "splits": splits,
        "sources": {name: source.provenance() for name, source in sorted(found.items())},
        "source_digests": source_digests,
        "recipe": recipe(dataset),
    }
    manifest["digest"] = arrays.dataset_digest(manifest)
    write_json(work / arrays.MANIFEST, manifest)
    return manifest


def _check(
    dataset: Dataset, collectors: dict[str, Collector], found: dict[str, Found], digests: dict[str, str]
) -> None:
    for split, part in collectors.items():
        if part.highest >= dataset.grey_levels:
            raise DataError(
                f"{dataset.name}: a pixel of {split} is {part.highest}, but grey_levels is {dataset.grey_levels}"
            )
    wrong = [split for split, value in dataset.digests.items() if digests.get(split) != value]
    altered = [source for source in found.values() if not source.verified]
    if wrong:
        files = ", ".join(str(source.path) for source in altered or found.values()) or dataset.name
        raise DataError(
            f"{files}: the images of {', '.join(wrong)} are not the published ones; replace with the publisher's"
        )
    if altered and not dataset.digests:
        raise DataError(
            f"{altered[0].path} has not the published checksum, and no digest can vouch for it; replace it"
        )


def _carve(dataset: Dataset, collectors: dict[str, Collector]) -> list[tuple[str, Collector, np.ndarray]]:
    training = collectors.get("all") or collectors["train"]
    order = training.order
    test = int(dataset.options.get("test", 0)) if "all" in collectors else 0
    if len(order) <= test + dataset.validation:
        raise DataError(
            f"{dataset.name}: {len(order)} images leave none to train on after {test} for test and "
            f"{dataset.validation} for validation; lower them in config/datasets/{dataset.name}.yaml"
        )
    carved = [
        ("train", training, order[test + dataset.validation :]),
        ("val", training, order[test : test + dataset.validation]),
    ]
    if "all" in collectors:
        return [*carved, ("test", training, order[:test])]
    return [*carved, ("test", collectors["test"], collectors["test"].order)]


def _write(dataset: Dataset, split: str, part: Collector, places: np.ndarray, work: Path) -> dict[str, Any]:
    path = work / f"{split}.npy"
    images = part.images
    shape = (len(places), *dataset.shape)
    array = np.lib.format.open_memmap(path, mode="w+", dtype=np.uint8, shape=shape)
    for start in range(0, len(places), CHUNK):
        chosen = images[places[start : start + CHUNK]]
        array[start : start + CHUNK] = formats.embed(chosen, dataset.shape, dataset.name)
    array.flush()
    del array
    entry = {
        "file": path.name,
        "count": len(places),
        "sha256": sha256_file(path),
        "digest": part.digest(places),
        "labels": None,
    }
    if part.labels:
        labels = work / f"{split}_labels.npy"
        np.save(labels, np.concatenate(part.labels)[places])
        entry["labels"] = {"file": labels.name, "sha256": sha256_file(labels)}
    return entry


def _publish(work: Path, folder: Path) -> None:
    """Rename into place, the manifest last: it alone says that the rest is whole."""
    ready = [path for path in work.iterdir() if path.suffix == ".npy"] + [work / arrays.MANIFEST]
    for path in ready:
        with open(path, "rb") as stream:
            os.fsync(stream.fileno())
        os.replace(path, folder / path.name)


@contextmanager
def _locked(folder: Path):
    """Hold a folder against other processes; the lock ends with the process, however it ends."""
    try:
        folder.mkdir(parents=True, exist_ok=True)
        handle = os.open(folder, os.O_RDONLY)
    except OSError as error:
        raise DataError(f"cannot write {folder}: {error.strerror}; choose another --root") from None
    try:
        fcntl.flock(handle, fcntl.LOCK_EX)
        yield
    finally:
        os.close(handle)
