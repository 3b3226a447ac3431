"""Hostile bytes: sound files of each format, altered, and what a parser may make of them."""

import gzip
import zlib

import numpy as np
from tiny_sources import cifar_bytes, idx_bytes, npz_zip_bytes, png_bytes, png_tar_bytes, random_images

from marscf.data.untrusted import formats
from marscf.errors import DataError

SHAPE = (3, 4, 4)
INTERESTING = [b"\0", b"\xff", b"\x7f", b"\xff\xff\xff\xff", b"\x7f\xff\xff\xff", b"\0\0\0\0", b"9", b"../"]


def compressed(content):
    return gzip.compress(content, compresslevel=1, mtime=0)


def recomputed(content):
    """A PNG whose chunks have the right CRC again, so that mutations reach what lies behind that check."""
    fixed, at = bytearray(content), 8
    while at + 12 <= len(fixed):
        end = at + 8 + int.from_bytes(fixed[at : at + 4], "big")
        if end + 4 > len(fixed):
            break
        fixed[end : end + 4] = zlib.crc32(fixed[at + 4 : end]).to_bytes(4, "big")
        at = end + 4
    return bytes(fixed)


def checksummed(content):
    """A tar archive whose headers have the right checksum again."""
    fixed = bytearray(content)
    for at in range(0, len(fixed) - 511, 512):
        if fixed[at + 257 : at + 262] == b"ustar":
            fixed[at + 148 : at + 156] = b" " * 8
            fixed[at + 148 : at + 156] = b"%06o\0 " % sum(fixed[at : at + 512])
    return bytes(fixed)


IMAGES = random_images(3, SHAPE)
IDX = {
    "train-images": compressed(idx_bytes(IMAGES[:, 0])),
    "train-labels": compressed(idx_bytes(np.arange(3, dtype=np.uint8))),
}
IDX |= {name.replace("train", "test"): content for name, content in IDX.items()}
CIFAR = cifar_bytes(random_images(5, (3, 32, 32)), random_images(1, (3, 32, 32)))
PALETTE = png_bytes(IMAGES[0][:1], bits=4)

# name: (format, shape, source, others, seed, how mutated bytes become a file)
CASES = {
    "idx images": ("idx", (1, 4, 4), "train-images", IDX, idx_bytes(IMAGES[:, 0]), compressed),
    "idx labels": (
        "idx",
        (1, 4, 4),
        "train-labels",
        IDX,
        idx_bytes(np.arange(3, dtype=np.uint8)),
        compressed,
    ),
    "idx gzip": ("idx", (1, 4, 4), "train-images", IDX, IDX["train-images"], bytes),
    "cifar tar": ("cifar-binary", (3, 32, 32), "archive", {}, CIFAR, compressed),
    "cifar tar headers": (
        "cifar-binary",
        (3, 32, 32),
        "archive",
        {},
        CIFAR,
        lambda content: compressed(checksummed(content)),
    ),
    "cifar gzip": ("cifar-binary", (3, 32, 32), "archive", {}, compressed(CIFAR), bytes),
    "png tar": ("image-archive", SHAPE, "train", {}, png_tar_bytes(IMAGES), bytes),
    "png tar headers": ("image-archive", SHAPE, "train", {}, png_tar_bytes(IMAGES), checksummed),
    "npz zip": ("image-archive", SHAPE, "train", {}, npz_zip_bytes(IMAGES, np.arange(3)), bytes),
    "npy": ("npy", SHAPE, "path", {}, b"", bytes),
    "png": ("folder", SHAPE, "path", {}, png_bytes(IMAGES[0]), bytes),
    "png pixels": ("folder", SHAPE, "path", {}, png_bytes(IMAGES[0]), recomputed),
    "png palette": ("folder", (1, 4, 4), "path", {}, PALETTE, recomputed),
}


def npy_seed(tmp_path):
    np.save(tmp_path / "seed.npy", IMAGES)
    return (tmp_path / "seed.npy").read_bytes()


def mutated(seed, chance):
    """The seed with bits flipped, runs overwritten, cut out, inserted or repeated, one to six times."""
    content = bytearray(seed)
    for _ in range(chance.randint(1, 6)):
        place, number, word = (
            chance.randrange(len(content) + 1),
            chance.randrange(256),
            chance.choice(INTERESTING),
        )
        kind = chance.randrange(5)
        if kind == 0 and place < len(content):
            content[place] ^= 1 << number % 8
        elif kind == 1:
            content[place : place + len(word)] = word
        elif kind == 2:
            del content[place : place + number]
        elif kind == 3:
            content[place:place] = word * (1 + number % 4)
        else:
            content[place:place] = content[place : place + number]
    return bytes(content)


def parse(name, content, folder):
    """Parse one file; `DataError` is the only exception that may come out."""
    kind, shape, source, others, _, packed = CASES[name]
    suffix = ".png" if kind == "folder" else ""
    paths = {other: folder / (other + suffix) for other in {**others, source: b""}}
    for other, path in paths.items():
        if other == source:
            path.write_bytes(packed(content))
        elif not path.exists():
            path.write_bytes(others[other])
    files = {"path": folder} if kind == "folder" else paths
    try:
        for _, images, labels in formats.parser(kind)(files, shape):
            formats.embed(images, shape, name)
            assert images.dtype == np.uint8 and images.ndim == 4
            assert labels is None or (labels.dtype.kind == "u" and labels.shape == (len(images),))
    except DataError as error:
        assert str(folder) in str(error) and "\n" not in str(error)
        return False
    return True
