"""Parsers of the datasets' source files: bytes from outside in, checked uint8 arrays out, `DataError` else.

A parser is `read(files, shape)`: `files` maps source names to paths, `shape (C,H,W)` is the dataset's. It
yields parts `(split, images, labels)`: split "train" or "test", or "all" where the source has no test split;
images uint8 `(n,C,H,W)`; labels unsigned `(n,)` or None. Parts are small, so memory is bounded whatever the
files claim. No format that can run code (pickle) is ever opened.
"""

import importlib.util
import math
import struct
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import BinaryIO

import numpy as np

from marscf.config import Dataset
from marscf.data.untrusted import own, unpack
from marscf.errors import ConfigError, DataError, nearest

Part = tuple[str, np.ndarray, np.ndarray | None]
Shape = tuple[int, int, int]

PART = 4096  # images in a part
IDX_UINT8 = 0x08
LARGEST_LABELS = 1 << 24  # labels of one IDX file
LARGEST_ARCHIVE = 1 << 32  # bytes of a decompressed CIFAR archive
CIFAR_RECORD = 1 + 3 * 32 * 32  # a label, then the red, green and blue planes
CIFAR_BATCHES = {f"data_batch_{i}.bin": "train" for i in range(1, 6)} | {"test_batch.bin": "test"}
LARGEST_BATCH = 1 << 26  # bytes of one of them


def digits(files: dict[str, Path], shape: Shape) -> Iterator[Part]:
    """The 1,797 handwritten digits that ship with scikit-learn: 8×8, 17 grey levels, ten classes."""
    package = importlib.util.find_spec("sklearn")  # located, not imported: that takes seconds
    if package is None or not package.submodule_search_locations:
        raise DataError(
            "digits come with scikit-learn, which is not installed; run: pip install scikit-learn"
        )
    path = Path(package.submodule_search_locations[0], "datasets", "data", "digits.csv.gz")
    with unpack.open_gzip(path) as stream:
        table = np.loadtxt(stream, delimiter=",", dtype=np.uint8, ndmin=2)
    if table.shape[1] != 65:
        raise DataError(f"{path}: {table.shape[1]} columns, expected 65; reinstall scikit-learn")
    yield "all", table[:, :64].reshape(-1, 1, 8, 8), table[:, 64]


def idx(files: dict[str, Path], shape: Shape) -> Iterator[Part]:
    """MNIST's format: sources `train-images, train-labels, test-images, test-labels`, gzipped IDX files.

    Ours, because torchvision unpacks a whole file into memory, however large it is.
    """
    for split in ("train", "test"):
        images, labels = files[f"{split}-images"], files[f"{split}-labels"]
        with unpack.open_gzip(labels) as stream:
            (count,) = _idx_header(stream, labels, 1)
            if count > LARGEST_LABELS:
                raise DataError(f"{labels} claims {count:,} labels, more than is plausible; replace it")
            classes = np.frombuffer(unpack.read_exactly(stream, count, labels), np.uint8)
            unpack.expect_end(stream, labels)
        with unpack.open_gzip(images) as stream:
            count, height, width = _idx_header(stream, images, 3)
            if count != len(classes):
                raise DataError(
                    f"{images} holds {count} images, {labels.name} {len(classes)} labels; replace both"
                )
            if not 0 < height * width <= math.prod(shape):
                raise DataError(f"{images}: images of {height}×{width} do not fit into {shape}; replace it")
            embed(np.empty((0, 1, height, width), np.uint8), shape, images)
            for start in range(0, count, PART):
                n = min(PART, count - start)
                content = unpack.read_exactly(stream, n * height * width, images)
                pixels = np.frombuffer(content, np.uint8).reshape(n, 1, height, width)
                yield split, pixels, classes[start : start + n]
            unpack.expect_end(stream, images)


def _idx_header(stream: unpack.Readable, path: Path, dimensions: int) -> tuple[int, ...]:
    magic = unpack.read_exactly(stream, 4, path)
    if magic != bytes([0, 0, IDX_UINT8, dimensions]):
        raise DataError(f"{path} is no IDX file of {dimensions}-dimensional unsigned bytes; replace it")
    return struct.unpack(f">{dimensions}I", unpack.read_exactly(stream, 4 * dimensions, path))


def cifar_binary(files: dict[str, Path], shape: Shape) -> Iterator[Part]:
    """The binary release of CIFAR-10: source `archive`, a .tar.gz with six batches of labelled records.

    Ours, because torchvision unpacks and unpickles the release for Python.
    """
    path, seen = files["archive"], set()
    with unpack.open_gzip(path) as stream:
        for name, content in unpack.read_tar(stream, path, LARGEST_BATCH, LARGEST_ARCHIVE):
            batch = name.rpartition("/")[2]
            if batch not in CIFAR_BATCHES:
                continue
            if batch in seen or len(content) % CIFAR_RECORD:
                raise DataError(f"{path}: {name} stands twice or is cut off mid-record; replace it")
            seen.add(batch)
            records = np.frombuffer(content, np.uint8).reshape(-1, CIFAR_RECORD)
            if records[:, 0].max(initial=0) > 9:
                raise DataError(f"{path}: {name} has a label above 9; replace it")
            yield CIFAR_BATCHES[batch], records[:, 1:].reshape(-1, 3, 32, 32), records[:, 0]
    if missing := sorted(CIFAR_BATCHES.keys() - seen):
        raise DataError(f"{path} lacks {', '.join(missing)}; replace it with the publisher's")


def image_archive(files: dict[str, Path], shape: Shape) -> Iterator[Part]:
    """Downsampled ImageNet: sources `train` and `test`, each a tar of PNG files or a zip of .npz batches."""
    for split, path in files.items():
        with unpack.damage(path), open(path, "rb") as stream:
            parts = _npz_batches(path, shape) if stream.read(2) == b"PK" else _png_tar(path, shape)
        for images, labels in parts:
            yield split, images, labels


def _png_tar(path: Path, shape: Shape) -> Iterator[tuple[np.ndarray, None]]:
    found: list[np.ndarray] = []
    with unpack.damage(path), open(path, "rb", buffering=1 << 20) as stream:
        for name, content in unpack.read_tar(stream, path, unpack.LARGEST_IMAGE):
            image = unpack.read_png(content, f"{path}: {name}", shape[0])
            if image.shape != tuple(shape):
                raise DataError(f"{path}: {name} has shape {image.shape}, not {tuple(shape)}; replace it")
            found.append(image)
            if len(found) == PART:
                yield np.stack(found), None
                found = []
    if found:
        yield np.stack(found), None


def _npz_batches(path: Path, shape: Shape) -> Iterator[tuple[np.ndarray, np.ndarray]]:
    for name, batch in unpack.read_zip(path, path, ".npz"):
        place = f"{path}: {name}"
        labels = [_npz_labels(stream, place) for _, stream in unpack.read_zip(batch, place, "labels.npy")]
        if len(labels) != 1:
            raise DataError(f"{place} has no labels; replace it")
        classes, size = labels[0], math.prod(shape)
        for _, stream in unpack.read_zip(batch, place, "data.npy"):
            sides, dtype = unpack.read_npy(stream, place)
            if sides != (len(classes), size) or dtype != np.uint8:
                raise DataError(
                    f"{place} holds {dtype} {sides}, not uint8 {(len(classes), size)}; replace it"
                )
            for start in range(0, len(classes), PART):
                n = min(PART, len(classes) - start)
                pixels = np.frombuffer(unpack.read_exactly(stream, n * size, place), np.uint8)
                yield pixels.reshape(n, *shape), classes[start : start + n]
            unpack.expect_end(stream, place)


def _npz_labels(stream: BinaryIO, place: str) -> np.ndarray:
    (count, *rest), dtype = unpack.read_npy(stream, place)
    if rest or count > LARGEST_LABELS:
        raise DataError(f"{place}: its labels are no plain list; replace it")
    classes = np.frombuffer(unpack.read_exactly(stream, count * dtype.itemsize, place), dtype)
    unpack.expect_end(stream, place)
    if classes.min(initial=0) < 0 or classes.max(initial=0) > 0xFFFF:
        raise DataError(f"{place} has impossible labels; replace it")
    return classes.astype(np.uint16)


def folder(files: dict[str, Path], shape: Shape) -> Iterator[Part]:
    """The user's own folder of PNG and JPEG files, all of the dataset's shape (`own` says which are read)."""
    for part in own.folder_parts(files):
        found: list[np.ndarray] = []
        for path in part.folder.images:
            found.append(_own_image(path, shape))
            if len(found) == PART:
                yield part.split, np.stack(found), None
                found = []
        if found:
            yield part.split, np.stack(found), None


def _own_image(path: Path, shape: Shape) -> np.ndarray:
    with unpack.damage(path):
        if path.stat().st_size > 4 * unpack.LARGEST_IMAGE:
            raise DataError(f"{path} is larger than {4 * unpack.LARGEST_IMAGE:,} bytes; leave it out")
        with open(path, "rb") as stream:
            if path.suffix.lower() == ".png":
                image = unpack.read_png(stream.read(), path, shape[0])
            else:
                image = unpack.decode_image(stream, path, shape[0], own.IMAGES[path.suffix.lower()])
    if image.shape != tuple(shape):
        raise DataError(f"{path} has shape {image.shape}, the dataset {tuple(shape)}; resize one of them")
    return image


def npy(files: dict[str, Path], shape: Shape) -> Iterator[Part]:
    """The user's own .npy file of bytes `(N,C,H,W)` or `(N,H,W)`, and another for the test split if given."""
    for source, path in files.items():
        split = "test" if source == "test_path" else "train" if "test_path" in files else "all"
        with unpack.damage(path), open(path, "rb") as stream:
            (count, *sides), dtype = unpack.read_npy(stream, path)
            sides = [1, *sides] if len(sides) == 2 else sides
            if tuple(sides) != tuple(shape) or dtype != np.uint8:
                raise DataError(f"{path}: {dtype} images of {tuple(sides)}, not uint8 of {shape}; convert it")
            for start in range(0, count, PART):
                n = min(PART, count - start)
                content = unpack.read_exactly(stream, n * math.prod(shape), path)
                yield split, np.frombuffer(content, np.uint8).reshape(n, *shape), None
            unpack.expect_end(stream, path)  # several arrays can be saved into one file


FORMATS: dict[str, Callable[..., Iterator[Part]]] = {
    "digits": digits,
    "idx": idx,
    "cifar-binary": cifar_binary,
    "image-archive": image_archive,
    "folder": folder,
    "npy": npy,
}
SOURCES = {  # what the formats of datasets that are downloaded are to be given
    "digits": set(),
    "idx": {"train-images", "train-labels", "test-images", "test-labels"},
    "cifar-binary": {"archive"},
    "image-archive": {"train", "test"},
}


def parser(name: str) -> Callable[..., Iterator[Part]]:
    """Return a parser by name; raises `ConfigError` for an unknown one."""
    if name not in FORMATS:
        raise ConfigError(f"format: unknown {name!r}{nearest(name, FORMATS)}")
    return FORMATS[name]


def check_sources(dataset: Dataset) -> None:
    """Raise `ConfigError` unless a dataset's YAML names the sources that its format needs."""
    parser(dataset.format)
    needed = SOURCES[dataset.format]
    for sources in [release.sources for release in dataset.releases.values()] or [dataset.sources]:
        if sources.keys() != needed:
            raise ConfigError(
                f"datasets/{dataset.name}.yaml: format {dataset.format} needs the sources {sorted(needed)}, "
                f"got {sorted(sources)}"
            )


def embed(images: np.ndarray, shape: Shape, place: object) -> np.ndarray:
    """Zero-pad images `(n,c,h,w)` to the sides of `shape (C,H,W)`, and stack a grey one C times.

    Raises `DataError` where that can't be done evenly: nothing is ever cropped or rescaled.
    """
    channels, height, width = shape
    n, c, h, w = images.shape
    top, left = (height - h) // 2, (width - w) // 2
    if c not in (1, channels) or h + 2 * top != height or w + 2 * left != width or min(top, left) < 0:
        raise DataError(f"{place}: {c}×{h}×{w} images cannot be padded or stacked to the dataset's {shape}")
    if (c, h, w) == (channels, height, width):
        return images
    padded = np.zeros((n, c, height, width), np.uint8)
    padded[:, :, top : top + h, left : left + w] = images
    return np.repeat(padded, channels, axis=1) if c != channels else padded
