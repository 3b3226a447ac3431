"""Prepared datasets: memory-mapped uint8 arrays, verified against their manifest before anyone reads them.

`data/datasets/<dataset>/{train,val,test}.npy` hold images `(N,C,H,W)`, `<split>_labels.npy` their classes
where the source has them, and `manifest.json` says what they are. Needs numpy alone.
"""

import os
import re
from functools import lru_cache
from pathlib import Path
from typing import Any

import numpy as np

from marscf.errors import DataError, MarscfError
from marscf.files import digest, read_json, sha256_file
from marscf.runs import DATASETS
from marscf.settings import RunConfig

MANIFEST = "manifest.json"
SPLITS = ("train", "val", "test")
PLAIN = r"\w[\w.-]*"  # a name that stays in its folder


def read_manifest(dataset: str, root: str | Path = DATASETS) -> dict[str, Any]:
    """Return a prepared dataset's manifest.

    Its keys: `name, shape (C,H,W), grey_levels, release` (of the source, where it has several, else null;
    "unofficial" where it is none of them), `digest` (of all arrays, in their order, and the release),
    `splits: {split: {file, count, sha256, digest, labels}}`, `sources`, `source_digests` (by source split,
    whatever the order), `recipe`. Raises `DataError` where it is missing, damaged or edited.
    """
    if not re.fullmatch(PLAIN, dataset):
        raise DataError(f"{dataset!r} is no name of a dataset")
    path = Path(root) / dataset / MANIFEST
    advice = f"run: marscf data {dataset}"
    if not path.is_file():
        raise DataError(f"dataset {dataset!r} is not prepared (no {path}); {advice}")
    try:
        manifest = read_json(path)
        whole = dataset_digest(manifest)
        _check_names(manifest)
    except (MarscfError, KeyError, TypeError, AttributeError) as error:
        raise DataError(f"{path} is damaged ({error}); {advice}") from None
    if manifest.get("digest") != whole:
        raise DataError(f"{path}: its digest {manifest.get('digest')!r} is not that of its entries; {advice}")
    return manifest


def dataset_of(config: RunConfig, root: str | Path = DATASETS) -> dict[str, Any]:
    """Return the manifest of a run's dataset; raises `DataError` where its images are of another form."""
    manifest = read_manifest(config.dataset, root)
    for name, said in (("shape", list(config.data.shape)), ("grey_levels", config.data.grey_levels)):
        if manifest[name] != said:
            raise DataError(
                f"data.{name}: the run's config says {said}, dataset {config.dataset!r} has "
                f"{manifest[name]}; correct one of them"
            )
    return manifest


def dataset_digest(manifest: dict[str, Any]) -> str:
    """The identity of a prepared dataset: what its arrays hold, in their order, and the source's release."""
    identity = {key: manifest[key] for key in ("name", "shape", "grey_levels", "release")}
    files = {split: [entry["count"], entry["sha256"]] for split, entry in manifest["splits"].items()}
    labels = {s: entry["labels"]["sha256"] for s, entry in manifest["splits"].items() if entry.get("labels")}
    return digest({**identity, "splits": files, "labels": labels})


def open_split(dataset: str, split: str, root: str | Path = DATASETS) -> np.ndarray:
    """Return the images of one split as a read-only memory map, uint8 `(N,C,H,W)`.

    The file's header and SHA-256 are checked against the manifest, once per process. Raises `DataError`
    naming the file that is missing or altered.
    """
    manifest = read_manifest(dataset, root)
    entry = _entry(manifest, split)
    array = _open(Path(root) / dataset / entry["file"], entry["sha256"], dataset)
    if array.dtype != np.uint8 or array.shape != (entry["count"], *manifest["shape"]):
        raise DataError(
            f"{dataset}/{entry['file']} holds {array.dtype} {array.shape}; run: marscf data {dataset}"
        )
    return array


class Joined:
    """Several arrays of images one after the other, as far as training reads them; nothing is copied."""

    def __init__(self, *parts: np.ndarray):
        self.parts = parts
        self.ends = np.cumsum([len(part) for part in parts])
        self.shape = (int(self.ends[-1]), *parts[0].shape[1:])
        self.ndim = len(self.shape)
        self.nbytes = sum(part.nbytes for part in parts)

    def __len__(self) -> int:
        return self.shape[0]

    def __getitem__(self, chosen: slice | np.ndarray) -> np.ndarray:
        """Return the images of a slice, or of indices from 0 `(B,)`."""
        indices = np.arange(len(self))[chosen]
        images = np.empty((len(indices), *self.shape[1:]), self.parts[0].dtype)
        which = np.searchsorted(self.ends, indices, side="right")
        for number, part in enumerate(self.parts):
            mine = which == number
            images[mine] = part[indices[mine] - (self.ends[number] - len(part))]
        return images


def open_training(
    dataset: str, root: str | Path = DATASETS, *, everything: bool = False
) -> np.ndarray | Joined:
    """Return the images that a model is trained on: with `everything`, the validation images too."""
    train = open_split(dataset, "train", root)
    return Joined(train, open_split(dataset, "val", root)) if everything else train


def open_labels(dataset: str, split: str, root: str | Path = DATASETS) -> np.ndarray:
    """Return the classes of one split, unsigned integers `(N,)`, verified as in `open_split`.

    Raises `DataError` where the source has none.
    """
    entry = _entry(read_manifest(dataset, root), split)
    if not entry.get("labels"):
        raise DataError(f"dataset {dataset!r} has no labels; choose one that has, such as digits or mnist")
    labels = _open(Path(root) / dataset / entry["labels"]["file"], entry["labels"]["sha256"], dataset)
    if labels.shape != (entry["count"],):
        raise DataError(f"{dataset}/{entry['labels']['file']} is {labels.shape}; run: marscf data {dataset}")
    return labels


def _check_names(manifest: dict[str, Any]) -> None:
    """Raise `DataError` where a manifest names a file outside its folder."""
    for entry in manifest["splits"].values():
        for file in (entry["file"], *([entry["labels"]["file"]] if entry.get("labels") else [])):
            if not re.fullmatch(PLAIN, file):
                raise DataError(f"it names {file!r}, which is not in its folder")


def _entry(manifest: dict[str, Any], split: str) -> dict[str, Any]:
    if split not in manifest["splits"]:
        raise DataError(
            f"dataset {manifest['name']!r} has no split {split!r} (known: {', '.join(manifest['splits'])})"
        )
    return manifest["splits"][split]


def _open(path: Path, sha256: str, dataset: str) -> np.ndarray:
    try:
        status = os.stat(path)
        found = _sha256(str(path.resolve()), status.st_ino, status.st_size, status.st_mtime_ns)
        if found != sha256:
            raise DataError(
                f"{path} is not what was prepared: its SHA-256 is {found[:12]}…, the manifest says "
                f"{sha256[:12]}…; run: marscf data {dataset}"
            )
        return np.load(path, mmap_mode="r", allow_pickle=False)
    except FileNotFoundError:
        raise DataError(f"no file {path}; run: marscf data {dataset}") from None
    except (OSError, ValueError, EOFError) as error:
        raise DataError(f"cannot read {path} ({error}); run: marscf data {dataset}") from None


@lru_cache(maxsize=256)
def _sha256(path: str, inode: int, size: int, mtime_ns: int) -> str:
    """Hash a file once per process, again if it was written to since."""
    return sha256_file(path)
