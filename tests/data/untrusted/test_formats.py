"""Parsers: what they decode, and what they refuse by name."""

import gzip
import io
import math

import numpy as np
import pytest
from PIL import Image
from tiny_sources import (
    cifar_bytes,
    idx_bytes,
    npz_zip_bytes,
    png_bytes,
    png_tar_bytes,
    random_images,
    tar_bytes,
)

from marscf.data.untrusted import formats
from marscf.errors import ConfigError, DataError

RGB = (3, 32, 32)


def read(name, files, shape):
    """All parts of a parser, joined: {split: (images, labels)}."""
    parts = {}
    for split, images, labels in formats.parser(name)(files, shape):
        assert images.dtype == np.uint8 and images.ndim == 4
        assert len(images) <= formats.PART or name in ("digits", "cifar-binary")
        parts.setdefault(split, []).append((images, labels))
    return {
        split: (
            np.concatenate([images for images, _ in found]),
            None if found[0][1] is None else np.concatenate([labels for _, labels in found]),
        )
        for split, found in parts.items()
    }


@pytest.mark.long  # importing scikit-learn takes seconds; the digest in digits.yaml is checked always
def test_digits_are_those_of_scikit_learn():
    from sklearn.datasets import load_digits

    images, labels = read("digits", {}, (1, 8, 8))["all"]
    expected = load_digits()
    assert np.array_equal(images[:, 0], expected.images) and np.array_equal(labels, expected.target)
    assert images.max() == 16


def test_idx(tiny, monkeypatch):
    monkeypatch.setattr(formats, "PART", 7)
    parts = read("idx", tiny.files, (1, 32, 32))
    assert np.array_equal(parts["train"][0][:, 0], tiny.train)
    assert np.array_equal(parts["test"][1], tiny.labels["test"])


@pytest.mark.parametrize(
    ("content", "words"),
    [
        (idx_bytes(random_images(59, (28, 28))), "holds 59 images, train-labels.gz 60"),
        (idx_bytes(random_images(60, (28, 28)))[:-1], "truncated"),
        (idx_bytes(random_images(60, (28, 28))) + b"\0", "continues after"),
        (idx_bytes(random_images(60, (40, 28))), "images of 40×28 do not fit"),
        (b"\0\0\x08\3" + b"\0\0\0\x3c" + b"\xff" * 8, "do not fit"),
        (b"\0\0\x0d\3" + bytes(12), "no IDX file"),
        (b"", "truncated"),
    ],
)
def test_idx_that_lies_is_refused(tiny, content, words):
    path = tiny.files["train-images"]
    path.write_bytes(gzip.compress(content))
    with pytest.raises(DataError, match=words) as caught:
        read("idx", tiny.files, (1, 32, 32))
    assert str(path) in str(caught.value)


def test_gzip_bomb_is_not_unpacked(tiny):
    bomb = gzip.compress(
        idx_bytes(np.zeros(1, np.uint8))[:4] + b"\0\0\0\x3c" + bytes(1 << 27), compresslevel=9
    )
    tiny.files["train-labels"].write_bytes(bomb)
    with pytest.raises(DataError, match=r"continues after"):
        read("idx", tiny.files, (1, 32, 32))


@pytest.mark.parametrize(
    "damage", [lambda b: b[:-5], lambda b: b[:50] + b"\xff" + b[51:], lambda b: b"PK" + b]
)
def test_damaged_gzip_is_named(tiny, damage):
    path = tiny.files["train-images"]
    path.write_bytes(damage(path.read_bytes()))
    with pytest.raises(DataError, match=r"train-images.gz is damaged|train-images.gz is truncated"):
        read("idx", tiny.files, (1, 32, 32))


def test_cifar_binary(tmp_path):
    train, test = random_images(25, RGB, 1), random_images(5, RGB, 2)
    (tmp_path / "a").write_bytes(gzip.compress(cifar_bytes(train, test)))
    parts = read("cifar-binary", {"archive": tmp_path / "a"}, RGB)
    assert {image.tobytes() for image in parts["train"][0]} == {image.tobytes() for image in train}
    assert np.array_equal(parts["test"][0], test) and set(parts["train"][1]) == {3}


@pytest.mark.parametrize(
    ("content", "words"),
    [
        (tar_bytes([("c/data_batch_1.bin", bytes(3073))]), "lacks data_batch_2.bin, .*test_batch.bin"),
        (tar_bytes([("c/data_batch_1.bin", bytes(3072))]), "cut off mid-record"),
        (tar_bytes([("c/data_batch_1.bin", b"")] * 2), "stands twice"),
        (cifar_bytes(random_images(5, RGB), random_images(1, RGB), labels=10), "label above 9"),
    ],
)
def test_cifar_archive_that_is_not_whole_is_refused(tmp_path, content, words):
    (tmp_path / "a").write_bytes(gzip.compress(content))
    with pytest.raises(DataError, match=words):
        read("cifar-binary", {"archive": tmp_path / "a"}, RGB)


def test_image_archives_of_both_releases(tmp_path, monkeypatch):
    monkeypatch.setattr(formats, "PART", 4)
    images, labels = random_images(10, RGB), np.arange(1, 11) * 100
    (tmp_path / "t").write_bytes(png_tar_bytes(images))
    (tmp_path / "z").write_bytes(npz_zip_bytes(images, labels))
    parts = read("image-archive", {"train": tmp_path / "z", "test": tmp_path / "t"}, RGB)
    assert np.array_equal(parts["train"][0], images) and np.array_equal(parts["train"][1], labels)
    assert np.array_equal(parts["test"][0], images) and parts["test"][1] is None


def test_every_flipped_byte_of_a_png_tar_is_noticed(tmp_path):
    """Nothing but the archive itself vouches for an archive of no known release: every byte must count."""
    images = random_images(2, (3, 2, 2))
    content = png_tar_bytes(images)
    path, unnoticed = tmp_path / "t", []
    for place in [*range(1800), *range(1800, len(content), 97)]:  # all but the trailing zeros
        altered = bytearray(content)
        altered[place] ^= 0x10
        path.write_bytes(altered)
        try:
            decoded = read("image-archive", {"train": path}, (3, 2, 2))["train"][0]
        except DataError as error:
            assert str(path) in str(error)
        else:
            unnoticed.append(place)
            assert np.array_equal(decoded, images)
    assert [place % 512 for place in unnoticed] == [148, 148]  # "0" to " " before the headers' checksum


@pytest.mark.parametrize(
    ("arrays", "words"),
    [
        ({"data": np.zeros((3, 48), np.uint8)}, "no labels"),
        (
            {"data": np.zeros((3, 48), np.uint8), "labels": np.zeros(4, int)},
            r"\(3, 48\), not uint8 \(4, 48\)",
        ),
        ({"data": np.zeros((3, 48), np.int64), "labels": np.zeros(3, int)}, "int64"),
        ({"data": np.zeros((3, 48), np.uint8), "labels": np.full(3, -1)}, "impossible labels"),
        ({"data": np.zeros((3, 48), np.uint8), "labels": np.array([{}] * 3, object)}, "not unsigned|damaged"),
    ],
)
def test_npz_batches_that_are_wrong_are_refused(tmp_path, arrays, words):
    import zipfile

    batch = io.BytesIO()
    np.savez(batch, allow_pickle=True, **arrays)
    with zipfile.ZipFile(tmp_path / "z", "w") as archive:
        archive.writestr("b.npz", batch.getvalue())
    with pytest.raises(DataError, match=words):
        read("image-archive", {"train": tmp_path / "z"}, (3, 4, 4))


def test_folder_of_images(tmp_path):
    images = random_images(9, (3, 8, 8))
    for i, image in enumerate(images):
        (tmp_path / f"{i % 2}").mkdir(exist_ok=True)
        (tmp_path / f"{i % 2}" / f"{i}.PNG").write_bytes(png_bytes(image))
    (tmp_path / "notes.txt").write_text("left alone")
    found, labels = read("folder", {"path": tmp_path}, (3, 8, 8))["all"]
    assert labels is None
    assert {image.tobytes() for image in found} == {image.tobytes() for image in images}


def test_folder_with_its_own_splits_grey_images_and_jpeg(tmp_path):
    grey = random_images(3, (1, 8, 8))
    for split, image in zip(("train", "test", "test"), grey, strict=True):
        (tmp_path / split).mkdir(exist_ok=True)
        (tmp_path / split / f"{image[0, 0, 0]}.png").write_bytes(png_bytes(image))
    parts = read("folder", {"path": tmp_path}, (1, 8, 8))
    assert np.array_equal(parts["train"][0][0], grey[0]) and len(parts["test"][0]) == 2
    stacked = read("folder", {"path": tmp_path}, (3, 8, 8))
    assert np.array_equal(stacked["train"][0][0], np.repeat(grey[0], 3, axis=0))
    Image.fromarray(np.full((8, 8, 3), 100, np.uint8)).save(tmp_path / "train" / "a.jpg", quality=100)
    assert (read("folder", {"path": tmp_path}, (3, 8, 8))["train"][0] == 100).all(axis=(1, 2, 3)).sum() == 1


@pytest.mark.parametrize(
    ("image", "words"),
    [
        (Image.new("RGB", (9, 8)), r"has shape \(3, 8, 9\)"),
        (Image.new("RGBA", (8, 8)), "transparency"),
        (Image.new("I;16", (8, 8)), "16 bits"),
        (Image.new("RGB", (5000, 8)), "5000×8 pixels"),
    ],
)
def test_image_that_would_have_to_be_changed_is_named(tmp_path, image, words):
    image.save(tmp_path / "odd.png")
    with pytest.raises(DataError, match=rf"odd.png.*{words}"):
        read("folder", {"path": tmp_path}, (3, 8, 8))


def test_coloured_image_is_not_made_grey_silently(tmp_path):
    (tmp_path / "a.png").write_bytes(png_bytes(random_images(1, (3, 8, 8))[0]))
    with pytest.raises(DataError, match=r"a.png is coloured"):
        read("folder", {"path": tmp_path}, (1, 8, 8))
    (tmp_path / "nothing").mkdir()
    with pytest.raises(DataError, match=r"no images"):
        read("folder", {"path": tmp_path / "nothing"}, (1, 8, 8))


def test_palette_image_is_decoded_and_palette_transparency_refused(tmp_path):
    image = Image.fromarray(random_images(1, (8, 8, 3))[0]).quantize(16)
    image.save(tmp_path / "a.png")
    pixels = read("folder", {"path": tmp_path}, (3, 8, 8))["all"][0][0]
    assert np.array_equal(pixels.transpose(1, 2, 0), np.asarray(image.convert("RGB")))
    image.save(tmp_path / "a.png", transparency=3)
    with pytest.raises(DataError, match=r"a.png has transparency"):
        read("folder", {"path": tmp_path}, (3, 8, 8))


def test_npy(tmp_path, monkeypatch):
    monkeypatch.setattr(formats, "PART", 4)
    images = random_images(10, (5, 6))
    np.save(tmp_path / "a.npy", images)
    assert np.array_equal(read("npy", {"path": tmp_path / "a.npy"}, (1, 5, 6))["all"][0][:, 0], images)
    both = read("npy", {"path": tmp_path / "a.npy", "test_path": tmp_path / "a.npy"}, (1, 5, 6))
    assert set(both) == {"train", "test"}


@pytest.mark.parametrize(
    ("array", "words"),
    [
        (np.zeros((4, 5, 6, 3), np.uint8), r"\(5, 6, 3\), not uint8 of \(3, 5, 6\)"),
        (np.zeros((4, 3, 5, 6), np.float32), "float32"),
        (np.asfortranarray(np.zeros((4, 3, 5, 6), np.uint8)), "C-ordered"),
        (np.array([{}], object), "damaged|unsigned"),
        (np.zeros((), np.uint8), "plain"),
    ],
)
def test_npy_of_another_form_is_refused(tmp_path, array, words):
    np.save(tmp_path / "a.npy", array, allow_pickle=True)
    with pytest.raises(DataError, match=words):
        read("npy", {"path": tmp_path / "a.npy"}, (3, 5, 6))


def test_embedding_pads_with_zeros_and_stacks():
    images = random_images(4, (1, 28, 28))
    padded = formats.embed(images, (3, 32, 32), "x")
    assert all(np.array_equal(padded[:, c, 2:30, 2:30], images[:, 0]) for c in range(3))
    assert padded.sum(dtype=int) == 3 * images.sum(dtype=int)
    for shape in ((1, 27, 28), (1, 29, 28), (2, 32, 32, 3)[:3]):
        if math.prod(shape):
            with pytest.raises(DataError, match=r"cannot be padded or stacked"):
                formats.embed(random_images(1, (3, 28, 28)), shape, "x")


def test_unknown_format_is_named():
    with pytest.raises(ConfigError, match=r"unknown 'cifar'; did you mean 'cifar-binary'"):
        formats.parser("cifar")
