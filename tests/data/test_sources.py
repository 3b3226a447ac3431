"""Where source files come from: mirrors, the download folder, releases, the user's own data."""

import hashlib
import shutil

import fsspec
import numpy as np
import pytest
from tiny_sources import (
    dataset,
    npz_zip_bytes,
    png_bytes,
    png_tar_bytes,
    random_images,
)

from marscf.data import arrays
from marscf.data.prepare import prepare
from marscf.errors import ConfigError, DataError

RGB = (3, 32, 32)


def test_offline_opens_no_socket(tiny, no_socket):
    for source in tiny.value["sources"].values():
        source["urls"] = ["http://127.0.0.1:9/x"]
    for mirror in (None, "http://127.0.0.1:9", "s3://bucket/m"):
        with pytest.raises(DataError, match=r"--offline forbids to download it; put it at .*sources/tiny/"):
            prepare(tiny.dataset(), tiny.root, mirror, offline=True)
    with pytest.raises(AssertionError, match="a socket was opened"):
        prepare(tiny.dataset(), tiny.root, None)
    prepare(tiny.dataset(), tiny.root, f"file://{tiny.mirror}", offline=True)


def test_files_laid_into_the_download_folder_are_used(tiny, no_socket):
    shutil.copytree(tiny.mirror / "tiny", tiny.root.parent / "sources" / "tiny")
    assert prepare(tiny.dataset(), tiny.root, None, offline=True)[1] == "prepared"


def test_remote_mirror_gives_the_same_manifest(tiny, tmp_path):
    with_folder, _ = prepare(tiny.dataset(), tiny.root, str(tiny.mirror))
    for path in tiny.files.values():
        with fsspec.open(f"memory://mirrored/tiny/{path.name}", "wb") as stream:
            stream.write(path.read_bytes())
    manifest, _ = prepare(tiny.dataset(), tmp_path / "other" / "datasets", "memory://mirrored", offline=True)
    assert manifest == with_folder


@pytest.fixture
def two_releases(tmp_path):
    """A dataset like ImageNet 32×32: two releases that differ in number, and a mirror of the first."""
    images = {"old": (random_images(30, RGB, 1), random_images(4, RGB, 2))}
    images["new"] = (random_images(31, RGB, 3), random_images(5, RGB, 4))
    mirror, releases = tmp_path / "mirror", {}
    (mirror / "tiny").mkdir(parents=True)
    for name, (train, test) in images.items():
        sources = {}
        for split, content in (("train", train), ("test", test)):
            content = (
                png_tar_bytes(content) if name == "old" else npz_zip_bytes(content, np.arange(len(content)))
            )
            checksum = hashlib.sha256(content).hexdigest()
            sources[split] = {"file": f"{name}-{split}", "sha256": checksum}
            (mirror / "tiny" / f"{name}-{split}").write_bytes(content)
        releases[name] = {
            "images": {"train": len(train), "test": len(test)},
            "sources": sources,
            "where": f"ask the {name} librarian",
        }
    return (
        dataset(format="image-archive", shape=list(RGB), releases=releases),
        mirror,
        tmp_path / "d" / "datasets",
    )


def test_release_is_recognised_recorded_and_part_of_the_digest(two_releases):
    tiny, mirror, root = two_releases
    old, _ = prepare(tiny, root, str(mirror))
    assert old["release"] == "old" and not (root / "tiny" / "train_labels.npy").exists()
    with pytest.raises(DataError, match=r"'tiny' has no labels"):
        arrays.open_labels("tiny", "train", root)
    new, done = prepare(tiny, root, str(mirror), release="new")
    assert new["release"] == "new" and "its release was old" in done
    assert arrays.open_labels("tiny", "train", root).dtype == np.uint16
    assert prepare(tiny, root, str(mirror))[1] == "already prepared, verified"
    assert prepare(tiny, root, str(mirror), release="new")[1] == "already prepared, verified"
    assert arrays.dataset_digest({**new, "release": "old"}) != new["digest"]


def test_only_the_release_at_hand_is_taken(two_releases):
    tiny, mirror, root = two_releases
    (mirror / "tiny" / "old-test").unlink()
    assert prepare(tiny, root, str(mirror))[0]["release"] == "new"


def test_altered_and_unknown_archives_never_pass_for_a_release(two_releases):
    tiny, mirror, root = two_releases
    (mirror / "tiny" / "old-train").write_bytes(png_tar_bytes(random_images(30, RGB, 9)))
    manifest, _ = prepare(tiny, root, str(mirror))
    assert manifest["release"] == "old-unverified"
    assert manifest["sources"]["train"]["verified_by"] == "its number of images alone"
    (mirror / "tiny" / "old-train").write_bytes(png_tar_bytes(random_images(28, RGB, 9)))
    shutil.rmtree(root)
    assert prepare(tiny, root, str(mirror))[0]["release"] == "unofficial"


def test_train_of_one_and_test_of_the_other_release_are_refused(two_releases):
    tiny, mirror, root = two_releases
    shutil.copy(mirror / "tiny" / "new-test", mirror / "tiny" / "old-test")
    with pytest.raises(DataError, match=r"test is of new, train is of old; take both from one"):
        prepare(tiny, root, str(mirror))


def test_release_without_public_download_says_where_to_ask_and_where_to_put_it(two_releases):
    tiny, _, root = two_releases
    with pytest.raises(
        DataError, match=r"old-train of tiny has no public download \(ask the old librarian\); put it at"
    ):
        prepare(tiny, root, None)
    with pytest.raises(ConfigError, match=r"unknown 'nwe'; did you mean 'new'"):
        prepare(tiny, root, None, release="nwe")


def test_own_folder_and_npy_become_datasets(tmp_path):
    images = random_images(40, (3, 8, 8))
    (tmp_path / "photos").mkdir()
    for i, image in enumerate(images):
        (tmp_path / "photos" / f"{i}.png").write_bytes(png_bytes(image))
    np.save(tmp_path / "all.npy", images)
    folder = dataset(format="folder", shape=[3, 8, 8], options={"path": str(tmp_path / "photos"), "test": 5})
    npy = dataset(
        name="t2", format="npy", shape=[3, 8, 8], options={"path": str(tmp_path / "all.npy"), "test": 5}
    )
    for given in (folder, npy):
        manifest, _ = prepare(given, tmp_path / "datasets", offline=True)
        assert {split: entry["count"] for split, entry in manifest["splits"].items()} == {
            "train": 25,
            "val": 10,
            "test": 5,
        }
    for split in arrays.SPLITS:
        same = [arrays.open_split(name, split, tmp_path / "datasets") for name in ("tiny", "t2")]
        assert np.array_equal(*same)
    assert prepare(folder, tmp_path / "datasets")[1] == "already prepared, verified"
    (tmp_path / "photos" / "0.png").write_bytes(png_bytes(255 - images[0]))
    assert "photos has changed" in prepare(folder, tmp_path / "datasets")[1]
    shutil.rmtree(tmp_path / "photos")  # as after a pull on another machine
    assert prepare(folder, tmp_path / "datasets")[1] == "already prepared, verified"


def test_missing_sources_are_named(tmp_path):
    with pytest.raises(
        ConfigError, match=r"format cifar-binary needs the sources \['archive'\], got \['x'\]"
    ):
        prepare(dataset(format="cifar-binary", shape=list(RGB), sources={"x": {"file": "x"}}), tmp_path)


@pytest.mark.parametrize(
    ("options", "error", "words"),
    [
        ({}, ConfigError, "format npy needs options.path"),
        ({"path": "nowhere.npy"}, DataError, "options.path: no such npy nowhere.npy"),
    ],
)
def test_own_data_that_is_not_there_is_told(tmp_path, options, error, words):
    with pytest.raises(error, match=words):
        prepare(dataset(format="npy", shape=[3, 8, 8], options=options), tmp_path)


def test_own_data_without_test_images_says_how_to_split_them_off(tmp_path):
    np.save(tmp_path / "a.npy", random_images(40, (3, 8, 8)))
    given = dataset(format="npy", shape=[3, 8, 8], options={"path": str(tmp_path / "a.npy")})
    with pytest.raises(DataError, match=r"no test images; set options.test in config/datasets/tiny.yaml"):
        prepare(given, tmp_path / "datasets")
