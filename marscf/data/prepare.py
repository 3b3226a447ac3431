"""From verified sources to prepared arrays.

The one rule of order and of splits: images stand in the order of the SHA-256 of their record (one label
byte, 0 where there is none, then the decoded pixels, channel by channel). That order is random as to content
but the same wherever the archive came from. Of the training images the first `validation` are the validation
split. Where the source has no test split, the first `test` images of all are split off before them.
"""

import hashlib
import os
import shutil
from pathlib import Path
from typing import Any

import numpy as np
from tqdm import tqdm

from marscf.config import Dataset
from marscf.data import arrays
from marscf.data.sources import Found, Store, own_digests
from marscf.data.untrusted import formats
from marscf.errors import DataError
from marscf.files import digest, locked, sha256_file, write_json

CHUNK = 4096  # images held in memory at once
ABSENT = "it is not there"
UNOFFICIAL = "unofficial"  # of no known release: its numbers are compared with no published ones
WORK = ".preparing"  # in a dataset's folder; the next call removes what a killed one left


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
        return np.memmap(self.path, np.uint8, "r", shape=(len(self), *(self.shape or ())))

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
    release: str | None = None,
) -> tuple[dict[str, Any], str]:
    """Make a dataset's arrays and manifest under `root/<dataset>`; return the manifest and what was done.

    Verified arrays are left untouched. Raises `DataError` naming what is missing, altered or of another form.
    """
    folder = root / dataset.name
    with locked(folder):
        work = folder / WORK
        shutil.rmtree(work, ignore_errors=True)  # what a killed call left, even one that was all but done
        manifest, fault = _prepared(dataset, root, release)
        if not fault:
            return manifest, "already prepared, verified"
        try:
            work.mkdir()
            found = Store(root.parent / "sources", mirror, offline).obtain(dataset, release)
            manifest = _decode(dataset, found, work)
            _publish(work, folder)
        except OSError as error:
            raise DataError(f"cannot prepare {folder}: {error}; make room or choose another --root") from None
        finally:
            shutil.rmtree(work, ignore_errors=True)
        return manifest, "prepared" if fault == ABSENT else f"prepared again, because {fault}"


def recipe(dataset: Dataset) -> str:
    """Hash of all in a dataset's YAML that its arrays depend on."""
    keys = {"name", "format", "shape", "grey_levels", "validation", "options", "digests", "releases"}
    return digest(dataset.model_dump(mode="json", include=keys))[:16]


def _prepared(dataset: Dataset, root: Path, release: str | None) -> tuple[dict[str, Any], str]:
    """Return the manifest of what is there, and why it is not what is asked for, if it is not."""
    if not (root / dataset.name / arrays.MANIFEST).exists():
        return {}, ABSENT
    try:
        manifest = arrays.read_manifest(dataset.name, root)
        for split, entry in manifest["splits"].items():
            arrays.open_split(dataset.name, split, root)
            if entry.get("labels"):
                arrays.open_labels(dataset.name, split, root)
    except DataError as error:
        return {}, str(error).rpartition("; ")[0]
    if manifest.get("recipe") != recipe(dataset):
        return {}, f"config/datasets/{dataset.name}.yaml was edited"
    if release and not (manifest["release"] or "").startswith(release):
        return {}, f"its release was {manifest['release']}"
    if (now := own_digests(dataset)) is not None:
        known = {name: source["sha256"] for name, source in manifest["sources"].items()}
        if changed := [name for name in now if now[name] != known.get(name)]:
            return {}, f"{getattr(dataset.options, changed[0])} has changed"
    return manifest, ""


def _decode(dataset: Dataset, found: dict[str, Found], work: Path) -> dict[str, Any]:
    collectors: dict[str, Collector] = {}
    parts = formats.parser(dataset.format)({name: f.path for name, f in found.items()}, dataset.shape)
    with tqdm(desc=dataset.name, unit=" images", disable=None, leave=False) as bar:
        for split, images, labels in parts:
            formats.embed(images[:1], dataset.shape, dataset.name)  # of a shape that can be used, or raise
            if split not in collectors:
                collectors[split] = Collector(work / f"{split}.raw")
            collectors[split].add(images, labels)
            bar.update(len(images))
    source_digests = {split: part.digest() for split, part in sorted(collectors.items())}
    release, evidence = _verify(dataset, collectors, found, source_digests)
    manifest = {
        "name": dataset.name,
        "shape": list(dataset.shape),
        "grey_levels": dataset.grey_levels,
        "release": release,
        "splits": {
            split: _write(dataset, split, part, places, work)
            for split, part, places in _split(dataset, collectors)
        },
        "sources": {
            name: {
                **f.provenance(),
                "verified_by": "its checksum" if f.verified and f.published else evidence,
            }
            for name, f in sorted(found.items())
        },
        "source_digests": source_digests,
        "recipe": recipe(dataset),
    }
    manifest["digest"] = arrays.dataset_digest(manifest)
    write_json(work / arrays.MANIFEST, manifest)
    return manifest


def _verify(
    dataset: Dataset, collectors: dict[str, Collector], found: dict[str, Found], digests: dict[str, str]
) -> tuple[str | None, str]:
    """Return the source's release, and what verifies files that lack the published checksum."""
    for split, part in collectors.items():
        if part.highest >= dataset.grey_levels:
            raise DataError(
                f"{dataset.name}: a pixel of {split} is {part.highest}, but grey_levels is "
                f"{dataset.grey_levels}; correct config/datasets/{dataset.name}.yaml or the images"
            )
    altered = [source for source in found.values() if not source.verified]
    if wrong := [split for split, value in dataset.digests.items() if digests.get(split) != value]:
        files = ", ".join(str(source.path) for source in altered or found.values()) or dataset.name
        raise DataError(
            f"{files}: {'not the published file, and ' * bool(altered)}its {' and '.join(wrong)} images are "
            f"not the published ones; replace it with the publisher's"
        )
    if dataset.releases:
        return _release(dataset, collectors, altered)
    if altered and not dataset.digests:
        raise DataError(
            f"{altered[0].path} has SHA-256 {altered[0].sha256}; config/datasets/{dataset.name}.yaml states "
            f"{altered[0].published}, and no digest that could verify it; correct one of them"
        )
    return None, "the digest of its decoded images" if dataset.digests else "nothing: own data"


def _release(dataset: Dataset, collectors: dict[str, Collector], altered: list[Found]) -> tuple[str, str]:
    """Tell the release by its contents: the numbers of images, and whether the files are the published."""
    images = {split: len(part) for split, part in sorted(collectors.items())}
    matches = {
        split: [name for name, release in dataset.releases.items() if release.images.get(split) == count]
        for split, count in images.items()
    }
    common = [name for name in dataset.releases if all(name in names for names in matches.values())]
    if common:
        return common[0] + "-unverified" * bool(altered), "its number of images alone"
    if all(matches.values()):
        raise DataError(
            f"{dataset.name}: {', '.join(f'{split} is of {names[0]}' for split, names in matches.items())}; "
            f"take both from one release"
        )
    return UNOFFICIAL, "nothing: of no known release"


def _split(dataset: Dataset, collectors: dict[str, Collector]) -> list[tuple[str, Collector, np.ndarray]]:
    test = dataset.options.test
    if test and "all" not in collectors:
        raise DataError(
            f"{dataset.name}: its source has its own test images; leave out options.test in "
            f"config/datasets/{dataset.name}.yaml"
        )
    training = collectors.get("all", collectors.get("train"))
    if training is None or ("all" not in collectors and "test" not in collectors):
        raise DataError(f"{dataset.name}: its source has no training images, or no test images; replace it")
    if "all" in collectors and not test:
        raise DataError(
            f"{dataset.name}: its source has no test images; set options.test in config/datasets/"
            f"{dataset.name}.yaml to how many are to be split off"
        )
    order = training.order
    if len(order) <= test + dataset.validation:
        raise DataError(
            f"{dataset.name}: {len(order)} images leave none to train on after {test} for test and "
            f"{dataset.validation} for validation; lower them in config/datasets/{dataset.name}.yaml"
        )
    found = [
        ("train", training, order[test + dataset.validation :]),
        ("val", training, order[test : test + dataset.validation]),
    ]
    if "all" in collectors:
        return [*found, ("test", training, order[:test])]
    return [*found, ("test", collectors["test"], collectors["test"].order)]


def _write(dataset: Dataset, split: str, part: Collector, places: np.ndarray, work: Path) -> dict[str, Any]:
    path, images = work / f"{split}.npy", part.images
    header = {"descr": "|u1", "fortran_order": False, "shape": (len(places), *dataset.shape)}
    with open(path, "wb") as stream:  # not through a memory map: a full disk would kill the process
        np.lib.format.write_array_header_1_0(stream, header)
        for start in range(0, len(places), CHUNK):
            chosen = images[places[start : start + CHUNK]]
            stream.write(formats.embed(chosen, dataset.shape, dataset.name).data)
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
    """Rename into place what is new, the manifest last: it alone says that the rest is whole."""
    ready = [*sorted(work.glob("*.npy")), work / arrays.MANIFEST]
    for path in ready:
        target = folder / path.name
        if target.is_file() and sha256_file(target) == sha256_file(path):
            continue
        with open(path, "rb") as stream:
            os.fsync(stream.fileno())
        os.replace(path, target)
