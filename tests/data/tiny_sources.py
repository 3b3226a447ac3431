"""Small files in the publishers' formats, made of random images, and datasets that describe them."""

import gzip
import hashlib
import io
import struct
import tarfile
import zipfile

import numpy as np
from PIL import Image

from marscf.config import Dataset, parse


def random_images(count, shape, seed=0):
    return np.random.default_rng(seed).integers(0, 256, (count, *shape), dtype=np.uint8)


def idx_bytes(array):
    return struct.pack(f">4B{array.ndim}I", 0, 0, 8, array.ndim, *array.shape) + array.tobytes()


def tar_bytes(members):
    stream = io.BytesIO()
    with tarfile.open(fileobj=stream, mode="w") as tar:
        for name, content in members:
            info = tarfile.TarInfo(name)
            info.size = len(content)
            tar.addfile(info, io.BytesIO(content))
    return stream.getvalue()


def png_bytes(image, **options):
    stream = io.BytesIO()
    pixels = image[0] if len(image) == 1 else image.transpose(1, 2, 0)
    Image.fromarray(pixels).save(stream, "png", **options)
    return stream.getvalue()


def png_tar_bytes(images):
    return tar_bytes((f"x/{i:05d}.png", png_bytes(image)) for i, image in enumerate(images))


def npz_zip_bytes(images, labels):
    batch = io.BytesIO()
    np.savez(batch, data=images.reshape(len(images), -1), labels=labels, mean=np.zeros(3))
    stream = io.BytesIO()
    with zipfile.ZipFile(stream, "w") as archive:
        archive.writestr("x/train_data_batch_1.npz", batch.getvalue())
    return stream.getvalue()


def cifar_bytes(train, test, labels=3):
    def records(images):
        return b"".join(bytes([labels]) + image.tobytes() for image in images)

    batches = [(f"c/data_batch_{i + 1}.bin", records(train[i::5])) for i in range(5)]
    return tar_bytes([("c/batches.meta.txt", b"cat\n"), *batches, ("c/test_batch.bin", records(test))])


def record_digest(images, labels):
    """The scheme of the published digests, written out independently."""
    hashes = sorted(
        hashlib.sha256(bytes([k]) + x.tobytes()).digest() for k, x in zip(labels, images, strict=True)
    )
    return hashlib.sha256(b"".join(hashes)).hexdigest()


def dataset(**changes):
    value = {"name": "tiny", "title": "Tiny", "validation": 10, "licence": "none", "cite": "none", **changes}
    return parse(Dataset, value, "tiny.yaml")


class TinyMnist:
    """60 + 20 random 28×28 images with labels as a mirror of gzipped IDX files, and its dataset."""

    def __init__(self, folder):
        self.mirror = folder / "mirror"
        self.root = folder / "data" / "datasets"
        (self.mirror / "tiny").mkdir(parents=True)
        self.train, self.test = random_images(60, (28, 28), 1), random_images(20, (28, 28), 2)
        self.labels = {
            "train": np.arange(60, dtype=np.uint8) % 10,
            "test": np.arange(20, dtype=np.uint8) % 10,
        }
        arrays = {
            "train-images": self.train,
            "train-labels": self.labels["train"],
            "test-images": self.test,
            "test-labels": self.labels["test"],
        }
        self.files, sources = {}, {}
        for name, array in arrays.items():
            content = gzip.compress(idx_bytes(array), mtime=0)
            self.files[name] = self.mirror / "tiny" / f"{name}.gz"
            self.files[name].write_bytes(content)
            checksum = hashlib.sha256(content).hexdigest()
            sources[name] = {"file": f"{name}.gz", "sha256": checksum, "bytes": len(content), "urls": []}
        self.value = {"format": "idx", "shape": [1, 32, 32], "sources": sources}
        self.digests = {
            "train": record_digest(self.train, self.labels["train"]),
            "test": record_digest(self.test, self.labels["test"]),
        }

    def dataset(self, **changes):
        return dataset(**{**self.value, **changes})
