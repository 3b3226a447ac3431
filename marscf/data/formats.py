"""Parsers of the datasets' source files: bytes from outside in, checked uint8 arrays out, `DataError` else.

A parser is `read(files, **options)`, where `files` maps the source names of `config/datasets/<dataset>.yaml`
to paths. It yields parts `(split, images, labels)`: split "train" or "test" (or "all", to be carved), images
uint8 `(n,C,H,W)`, labels unsigned `(n,)` or None. Parts are small, so memory stays bounded whatever the size.
No format that can run code (pickle) is ever opened.
"""

import struct
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np

from marscf.data.unpack import read_gzip
from marscf.errors import ConfigError, DataError, nearest

Part = tuple[str, np.ndarray, np.ndarray | None]

IDX_UINT8 = 0x08
LARGEST_IDX = 1 << 30  # bytes, decoded


def digits(files: dict[str, Path]) -> Iterator[Part]:
    """The 1,797 handwritten digits that ship with scikit-learn: 8×8, 17 grey levels, ten classes."""
    from sklearn.datasets import load_digits

    images, labels = load_digits(return_X_y=True)
    yield "all", images.astype(np.uint8).reshape(-1, 1, 8, 8), labels.astype(np.uint8)


def idx(files: dict[str, Path]) -> Iterator[Part]:
    """MNIST's format: sources `train-images, train-labels, test-images, test-labels`, gzipped IDX files."""
    for split in ("train", "test"):
        images = read_idx(files[f"{split}-images"], dimensions=3)
        labels = read_idx(files[f"{split}-labels"], dimensions=1)
        if len(images) != len(labels):
            raise DataError(
                f"{files[f'{split}-images']} holds {len(images)} images, {files[f'{split}-labels'].name} "
                f"{len(labels)} labels; replace both with the published files"
            )
        yield split, images[:, None], labels


def read_idx(path: Path, dimensions: int) -> np.ndarray:
    """Read one gzipped IDX file of unsigned bytes with so many dimensions."""
    content = read_gzip(path, LARGEST_IDX)
    start = 4 + 4 * dimensions
    if len(content) < start or content[:4] != bytes([0, 0, IDX_UINT8, dimensions]):
        raise DataError(f"{path} is no IDX file of {dimensions}-dimensional unsigned bytes")
    shape = struct.unpack(f">{dimensions}I", content[4:start])
    count = 1
    for side in shape:
        count *= side
    if count != len(content) - start:
        raise DataError(f"{path}: its header promises {shape}, but {len(content) - start} bytes follow")
    return np.frombuffer(content, np.uint8, offset=start).reshape(shape)


FORMATS: dict[str, Callable[..., Iterator[Part]]] = {
    "digits": digits,
    "idx": idx,
}


def parser(name: str) -> Callable[..., Iterator[Part]]:
    """Return a parser by name; raises `ConfigError` for an unknown one."""
    if name not in FORMATS:
        raise ConfigError(f"format: unknown {name!r}{nearest(name, FORMATS)}")
    return FORMATS[name]


def embed(images: np.ndarray, shape: tuple[int, int, int], place: Any) -> np.ndarray:
    """Zero-pad images `(n,c,h,w)` to the sides of `shape (C,H,W)`, and stack a grey one C times.

    Raises `DataError` where that can't be done evenly: nothing is ever cropped or rescaled.
    """
    channels, height, width = shape
    n, c, h, w = images.shape
    top, left = (height - h) // 2, (width - w) // 2
    if c not in (1, channels) or h + 2 * top != height or w + 2 * left != width or min(top, left) < 0:
        raise DataError(f"{place}: images of shape {(c, h, w)} cannot be padded or stacked to {tuple(shape)}")
    if (c, h, w) == (channels, height, width):
        return images
    padded = np.zeros((n, c, height, width), np.uint8)
    padded[:, :, top : top + h, left : left + w] = images
    return np.repeat(padded, channels, axis=1) if c != channels else padded
