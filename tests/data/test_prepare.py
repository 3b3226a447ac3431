"""From source files to prepared arrays: verified, splits by rule, idempotent, interruptible."""

import gzip
import hashlib
import json

import numpy as np
import pytest
from tiny_sources import (
    cifar_bytes,
    dataset,
    idx_bytes,
    random_images,
    record_digest,
)

from marscf.data import arrays
from marscf.data import prepare as module
from marscf.data.prepare import prepare
from marscf.errors import DataError

RGB = (3, 32, 32)


def files(folder):
    """Every file of a folder: content and time of last change."""
    return {path.name: (path.read_bytes(), path.stat().st_mtime_ns) for path in folder.iterdir()}


def test_arrays_hold_all_images_by_the_documented_rule(tiny):
    manifest, _ = prepare(tiny.dataset(digests=tiny.digests), tiny.root, str(tiny.mirror))
    splits = {s: arrays.open_split("tiny", s, tiny.root)[:, 0, 2:30, 2:30] for s in arrays.SPLITS}
    labels = {s: arrays.open_labels("tiny", s, tiny.root) for s in arrays.SPLITS}
    order = sorted(
        range(60),
        key=lambda i: hashlib.sha256(bytes([tiny.labels["train"][i]]) + tiny.train[i].tobytes()).digest(),
    )
    assert np.array_equal(np.concatenate([splits["val"], splits["train"]]), tiny.train[order])
    assert np.array_equal(np.concatenate([labels["val"], labels["train"]]), tiny.labels["train"][order])
    assert len(splits["val"]) == 10 and record_digest(splits["test"], labels["test"]) == tiny.digests["test"]
    assert manifest["source_digests"] == tiny.digests
    for split, entry in manifest["splits"].items():
        assert entry["count"] == len(splits[split])
        assert entry["digest"] == record_digest(splits[split], labels[split])
    assert {source["verified_by"] for source in manifest["sources"].values()} == {"its checksum"}
    assert manifest["release"] is None and manifest["shape"] == [1, 32, 32]


def test_images_are_stacked_to_three_channels(tiny):
    prepare(tiny.dataset(shape=RGB), tiny.root, str(tiny.mirror))
    images = arrays.open_split("tiny", "test", tiny.root)
    assert images.shape == (20, *RGB) and (images == images[:, :1]).all()


def test_second_call_rewrites_nothing(tiny, monkeypatch):
    first, done = prepare(tiny.dataset(), tiny.root, str(tiny.mirror))
    before = files(tiny.root / "tiny")
    assert done == "prepared" and len(before) == 7
    monkeypatch.setattr(module, "_decode", lambda *args: pytest.fail("decoded again"))
    second, done = prepare(tiny.dataset(title="Renamed"), tiny.root, None, offline=True)
    assert done == "already prepared, verified" and second == first
    assert files(tiny.root / "tiny") == before


def test_what_was_altered_is_told_and_made_again_bit_for_bit(tiny):
    prepare(tiny.dataset(), tiny.root, str(tiny.mirror))
    before = files(tiny.root / "tiny")
    array = tiny.root / "tiny" / "train.npy"
    array.write_bytes(array.read_bytes()[:-1] + b"\x55")
    _, done = prepare(tiny.dataset(), tiny.root, str(tiny.mirror))
    assert done.startswith("prepared again, because ") and "train.npy is not what was prepared" in done
    after = files(tiny.root / "tiny")
    assert {name: content for name, (content, _) in after.items()} == {
        name: content for name, (content, _) in before.items()
    }
    assert after["val.npy"] == before["val.npy"]  # what was right kept its time
    _, done = prepare(tiny.dataset(validation=11), tiny.root, str(tiny.mirror))
    assert "tiny.yaml was edited" in done and len(arrays.open_split("tiny", "val", tiny.root)) == 11


def test_the_arrays_do_not_depend_on_the_order_in_the_archive(tmp_path):
    train, test = random_images(30, RGB, 1), random_images(6, RGB, 2)
    value = {
        "format": "cifar-binary",
        "shape": list(RGB),
        "sources": {"archive": {"file": "a.tar.gz", "sha256": "0" * 64}},
        "digests": {"train": record_digest(train, [3] * 30), "test": record_digest(test, [3] * 6)},
    }
    manifests = []
    for root, images in (("one", (train, test)), ("other", (train[::-1], test[::-1]))):
        mirror = tmp_path / root / "mirror"
        (mirror / "tiny").mkdir(parents=True)
        (mirror / "tiny" / "a.tar.gz").write_bytes(gzip.compress(cifar_bytes(*images)))
        manifests.append(prepare(dataset(**value), tmp_path / root / "datasets", str(mirror))[0])
    assert manifests[0]["digest"] == manifests[1]["digest"]
    assert manifests[0]["splits"] == manifests[1]["splits"]
    assert manifests[0]["sources"]["archive"]["verified_by"] == "the digest of its decoded images"
    assert manifests[0]["sources"]["archive"]["published_checksum"] == "sha256:" + "0" * 64


def test_every_kind_of_altered_source_is_named(tiny):
    images = tiny.train.copy()
    images[17, 3, 3] ^= 1
    tiny.files["train-images"].write_bytes(gzip.compress(idx_bytes(images)))
    with pytest.raises(DataError, match=r"train-images\.gz: not the published file, and its train images"):
        prepare(tiny.dataset(digests=tiny.digests), tiny.root, str(tiny.mirror))
    with pytest.raises(DataError, match=r"train-images\.gz has SHA-256 .* no digest that could verify"):
        prepare(tiny.dataset(), tiny.root, str(tiny.mirror))
    assert list((tiny.root / "tiny").iterdir()) == []
    tiny.files["train-images"].unlink()
    with pytest.raises(DataError, match=r"no file .*/mirror/tiny/train-images\.gz"):
        prepare(tiny.dataset(), tiny.root, str(tiny.mirror))


def test_recompressed_source_is_accepted_by_digest_and_the_manifest_says_so(tiny):
    tiny.files["train-images"].write_bytes(gzip.compress(idx_bytes(tiny.train), compresslevel=1, mtime=9))
    manifest, _ = prepare(tiny.dataset(digests=tiny.digests), tiny.root, str(tiny.mirror))
    source = manifest["sources"]["train-images"]
    assert source["verified_by"] == "the digest of its decoded images"
    assert "sha256:" + source["sha256"] != source["published_checksum"]


def test_grey_levels_are_checked(tiny):
    with pytest.raises(DataError, match=r"a pixel of te?s?t?r?a?i?n? is 255, but grey_levels is 17"):
        prepare(tiny.dataset(grey_levels=17), tiny.root, str(tiny.mirror))


def test_too_many_validation_images_are_refused(tiny):
    with pytest.raises(DataError, match=r"60 images leave none to train on"):
        prepare(tiny.dataset(validation=60), tiny.root, str(tiny.mirror))


@pytest.mark.parametrize("name", ["mnist", "mnist-rgb", "cifar10", "imagenet32"])
def test_real_datasets_agree_with_their_published_digests(workplace, mirror, name):
    from marscf.config import load_config

    given = load_config(str(workplace / "config")).dataset(name)
    manifest, _ = prepare(given, workplace / "data" / "datasets", str(mirror), offline=True)
    if name == "imagenet32":
        assert manifest["release"] in {"unofficial", "oord-2016", "chrabaszcz-2017"}
        return
    assert given.digests and manifest["source_digests"] == given.digests
    images = arrays.open_split(name, "train", workplace / "data" / "datasets")
    assert images.shape == (55000 if "mnist" in name else 45000, *given.shape)
    assert json.loads((workplace / "data/datasets" / name / "manifest.json").read_text()) == manifest


def test_digits_need_no_network_and_are_split_by_rule(workplace, no_socket):
    from marscf.config import load_config

    given = load_config(str(workplace / "config")).dataset("digits")
    manifest, _ = prepare(given, workplace / "datasets", offline=True)
    assert {split: entry["count"] for split, entry in manifest["splits"].items()} == {
        "train": 1257,
        "val": 180,
        "test": 360,
    }
    for split in arrays.SPLITS:
        counts = np.bincount(arrays.open_labels("digits", split, workplace / "datasets"), minlength=10)
        assert counts.min() > 0.06 * counts.sum()  # every class in every split
