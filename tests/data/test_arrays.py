"""Prepared arrays: nothing altered is ever read."""

import json

import numpy as np
import pytest

from marscf.data.arrays import open_labels, open_split, read_manifest
from marscf.data.prepare import prepare
from marscf.errors import DataError


@pytest.fixture
def prepared(tiny):
    prepare(tiny.dataset(), tiny.root, str(tiny.mirror))
    return tiny.root / "tiny"


def test_arrays_are_memory_mapped_and_read_only(prepared):
    images = open_split("tiny", "train", prepared.parent)
    assert isinstance(images, np.memmap) and images.shape == (50, 1, 32, 32) and images.dtype == np.uint8
    with pytest.raises(ValueError):
        images[0] = 0
    assert open_split("tiny", "val", str(prepared.parent)).shape == (10, 1, 32, 32)
    assert open_labels("tiny", "test", prepared.parent).shape == (20,)


@pytest.mark.parametrize("split", ["train", "val", "test"])
def test_every_flipped_byte_of_an_array_is_named(prepared, split):
    path = prepared / f"{split}.npy"
    whole = path.read_bytes()
    for place in (0, 7, 30, 127, 128, len(whole) // 2, len(whole) - 1):
        altered = bytearray(whole)
        altered[place] ^= 1
        path.write_bytes(altered)
        with pytest.raises(
            DataError, match=rf"tiny/{split}.npy is not what was prepared.*run: marscf data tiny"
        ):
            open_split("tiny", split, prepared.parent)
    path.write_bytes(whole)
    open_split("tiny", split, prepared.parent)


def test_flipped_label_truncated_and_missing_files_are_named(prepared):
    labels = prepared / "val_labels.npy"
    labels.write_bytes(labels.read_bytes()[:-1] + b"\x7f")
    with pytest.raises(DataError, match=r"val_labels.npy is not what was prepared"):
        open_labels("tiny", "val", prepared.parent)
    (prepared / "train.npy").write_bytes((prepared / "train.npy").read_bytes()[:-1])
    with pytest.raises(DataError, match=r"train.npy is not what was prepared"):
        open_split("tiny", "train", prepared.parent)
    (prepared / "test.npy").unlink()
    with pytest.raises(DataError, match=r"no file .*test.npy; run: marscf data tiny"):
        open_split("tiny", "test", prepared.parent)


def test_manifest_that_was_edited_is_refused(prepared):
    path = prepared / "manifest.json"
    manifest = json.loads(path.read_text())
    for key, value in (("shape", [1, 64, 16]), ("release", "oord-2016"), ("digest", "0")):
        path.write_text(json.dumps({**manifest, key: value}))
        with pytest.raises(DataError, match=r"digest .* is not that of its entries"):
            read_manifest("tiny", prepared.parent)
    for text in ("", "[]", "{}", '{"splits": 3}', "\x00", "nonsense"):
        path.write_text(text)
        with pytest.raises(DataError, match=r"damaged .*run: marscf data tiny"):
            read_manifest("tiny", prepared.parent)


def test_an_array_exchanged_together_with_its_hash_has_another_digest(prepared):
    """Training compares the digest with the one it began with: swapped splits cannot pass for the dataset."""
    before = read_manifest("tiny", prepared.parent)["digest"]
    from marscf.data.arrays import dataset_digest

    manifest = json.loads((prepared / "manifest.json").read_text())
    manifest["splits"]["val"], manifest["splits"]["train"] = (
        manifest["splits"]["train"],
        manifest["splits"]["val"],
    )
    assert dataset_digest(manifest) != before


def test_what_is_not_there_is_told(prepared, tmp_path):
    with pytest.raises(DataError, match=r"'mnist' is not prepared .*run: marscf data mnist"):
        open_split("mnist", "train", tmp_path)
    with pytest.raises(DataError, match=r"no split 'valid' \(known: train, val, test\)"):
        open_split("tiny", "valid", prepared.parent)
