"""From source files to prepared arrays: verified, splits by rule, idempotent, interruptible."""

import gzip
import hashlib
import http.server
import json
import os
import random
import shutil
import signal
import socket
import subprocess
import sys
import threading
import time
from pathlib import Path

import fsspec
import numpy as np
import pytest
from tiny_sources import (
    cifar_bytes,
    dataset,
    idx_bytes,
    npz_zip_bytes,
    png_bytes,
    png_tar_bytes,
    random_images,
    record_digest,
)

from marscf.data import arrays
from marscf.data import prepare as module
from marscf.data.prepare import prepare
from marscf.errors import ConfigError, DataError

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


@pytest.fixture
def no_socket(monkeypatch):
    def forbidden(*args, **kwargs):
        raise AssertionError("a socket was opened")

    monkeypatch.setattr(socket, "socket", forbidden)
    monkeypatch.setattr(socket, "create_connection", forbidden)
    monkeypatch.setattr(socket, "getaddrinfo", forbidden)


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


# ---- releases


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


# ---- own data


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


# ---- interruptions

CALL = "import sys; from marscf.cli import main; sys.exit(main(sys.argv[1:]))"


class SlowServer(http.server.BaseHTTPRequestHandler):
    """Serves a folder, ranges included, slowly enough to be interrupted."""

    def log_message(self, *args):
        pass

    def do_GET(self):
        content = (self.server.folder / self.path.lstrip("/")).read_bytes()
        start = int((self.headers.get("Range") or "bytes=0-")[6:-1])
        self.server.resumed += start > 0
        self.send_response(206 if start else 200)
        self.send_header("Content-Length", str(len(content) - start))
        self.send_header("Content-Range", f"bytes {start}-{len(content) - 1}/{len(content)}")
        self.end_headers()
        for at in range(start, len(content), 1 << 16):
            self.wfile.write(content[at : at + (1 << 16)])
            time.sleep(0.003)


def killed_again_and_again(workplace, mirror, times, seed):
    """Download and prepare MNIST, killed with signal 9 at random moments; every tenth call may finish."""
    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), SlowServer)
    server.folder, server.resumed, server.handle_error = mirror, 0, lambda *args: None
    threading.Thread(target=server.serve_forever, daemon=True).start()
    yaml = Path("config").resolve() / "datasets" / "mnist.yaml"
    Path("config").unlink()
    Path("config/datasets").mkdir(parents=True)
    local = yaml.read_text().replace(
        "https://ossci-datasets.s3.amazonaws.com", f"http://127.0.0.1:{server.server_port}"
    )
    Path("config/datasets/mnist.yaml").write_text(local)

    call = [sys.executable, "-c", CALL, "data", "mnist"]
    environment = {key: value for key, value in os.environ.items() if not key.startswith("MARSCF")}
    chance, folder, killed, states = random.Random(seed), Path("data/datasets/mnist"), 0, set()
    started = time.monotonic()
    subprocess.run(call, check=True, capture_output=True, env=environment)
    longest = time.monotonic() - started
    expected = {path.name: path.read_bytes() for path in folder.iterdir()}
    while killed < times:
        if killed % 10 == 0:
            shutil.rmtree(chance.choice(["data", "data/datasets"]), ignore_errors=True)
        elif (folder / "val.npy").exists():
            (folder / "val.npy").write_bytes(b"damaged")
        process = subprocess.Popen(
            call, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, env=environment
        )
        try:
            process.wait(chance.uniform(0.2, 0.6) * longest)
        except subprocess.TimeoutExpired:
            os.kill(process.pid, signal.SIGKILL)
            killed += 1
        process.wait()
        if folder.exists():
            states.add(tuple(sorted(path.name for path in folder.iterdir())))
        try:  # whatever a reader is given at this moment is right
            images = arrays.open_split("mnist", "val")
            assert images.tobytes() == expected["val.npy"][128:]
        except DataError:
            pass
        if killed % 10 == 9 or killed == times:
            subprocess.run(call, check=True, capture_output=True, env=environment)
            assert {path.name: path.read_bytes() for path in folder.iterdir()} == expected
    server.shutdown()
    server.server_close()
    return states, server.resumed


def test_killed_calls_end_in_the_same_arrays(workplace, mirror):
    killed_again_and_again(workplace, mirror, 5, seed=1)


@pytest.mark.long
def test_killed_sixty_times_ends_in_the_same_arrays(workplace, mirror):
    states, resumed = killed_again_and_again(workplace, mirror, 60, seed=2)
    assert any(module.WORK in state for state in states)  # the kills hit the work,
    assert resumed  # and downloads, which went on where they had stopped


def test_work_left_by_a_killed_call_is_removed(tiny):
    prepare(tiny.dataset(), tiny.root, str(tiny.mirror))
    before = files(tiny.root / "tiny")
    work = tiny.root / "tiny" / module.WORK
    work.mkdir()
    (work / "train.npy").write_bytes(b"half")
    (tiny.root / "tiny" / "manifest.json").unlink()
    (tiny.root / "tiny" / "test.npy").write_bytes(b"other")
    prepare(tiny.dataset(), tiny.root, str(tiny.mirror))
    assert {n: c for n, (c, _) in files(tiny.root / "tiny").items()} == {n: c for n, (c, _) in before.items()}
    work.mkdir()  # killed between the last renaming and the cleaning up
    assert prepare(tiny.dataset(), tiny.root, None)[1] == "already prepared, verified"
    assert not work.exists()


# ---- the real ones


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
