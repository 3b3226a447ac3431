"""The user's own images: what is read is what is watched, and what is left out is said."""

import os
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from tiny_sources import dataset, png_bytes, random_images

from marscf.cli import main
from marscf.config import loading
from marscf.data.prepare import prepare
from marscf.data.sources import own_files, source_digests
from marscf.data.untrusted import formats
from marscf.errors import ConfigError, DataError

SHAPE = (3, 8, 8)


def photos(folder, count, seed=0):
    folder.mkdir(parents=True, exist_ok=True)
    for i, image in enumerate(random_images(count, SHAPE, seed)):
        (folder / f"{i:02d}.png").write_bytes(png_bytes(image))
    return folder


def own(path, **options):
    return dataset(format="folder", shape=list(SHAPE), options={"path": str(path), **options})


def counts(given, root):
    manifest, done = prepare(given, root)
    return {split: entry["count"] for split, entry in manifest["splits"].items()}, done, manifest


def notes(given, root):
    return counts(given, root)[2]["sources"]["path"].get("notes", [])


def linked_splits(place):
    for split, seed in (("train", 1), ("test", 2)):
        photos(place / "elsewhere" / split, 20, seed)
        (place / "photos").mkdir(exist_ok=True)
        (place / "photos" / split).symlink_to(place / "elsewhere" / split)
    return own(place / "photos"), place / "elsewhere" / "train"


def linked_files(place):
    photos(place / "elsewhere", 30)
    (place / "photos").mkdir()
    for path in (place / "elsewhere").iterdir():
        (place / "photos" / path.name).symlink_to(path)
    return own(place / "photos", test=5), place / "elsewhere"


def with_test_path(place):
    photos(place / "photos", 20)
    return own(place / "photos", test_path=str(photos(place / "testing", 12, 3))), place / "testing"


def at_home(place):
    return own("~/photos", test=5), photos(place / "photos", 20)


@pytest.mark.parametrize("make", [linked_splits, linked_files, with_test_path, at_home])
def test_any_change_of_an_image_that_is_read_is_noticed(tmp_path, monkeypatch, make):
    monkeypatch.setenv("HOME", str(tmp_path))
    given, folder = make(tmp_path)
    root = tmp_path / "datasets"
    before = source_digests(given, root), counts(given, root)[2]["digest"]
    assert counts(given, root)[1] == "already prepared, verified"
    (folder / "00.png").write_bytes(png_bytes(random_images(1, SHAPE, 99)[0]))
    _, done, manifest = counts(given, root)
    assert "has changed" in done
    assert source_digests(given, root) != before[0] and manifest["digest"] != before[1]


def test_images_prepared_before_stand_where_their_source_is_elsewhere(tmp_path):
    given, _ = with_test_path(tmp_path)
    prepare(given, tmp_path / "datasets")
    before = source_digests(given, tmp_path / "datasets")
    for name in ("photos", "testing"):
        (tmp_path / name).rename(tmp_path / f"old-{name}")
    assert source_digests(given, tmp_path / "datasets") == before
    assert counts(given, tmp_path / "datasets")[1] == "already prepared, verified"


def test_test_images_have_one_source(tmp_path):
    given, _ = with_test_path(tmp_path)
    assert counts(given, tmp_path / "datasets")[0] == {"train": 10, "val": 10, "test": 12}
    options = {"path": str(tmp_path / "photos"), "test_path": str(tmp_path / "testing")}
    with pytest.raises(DataError, match=r"its own test images; leave out options.test"):
        prepare(own(**options, test=5), tmp_path / "other")
    for split in ("train", "test"):
        photos(tmp_path / "photos" / split, 20)
    with pytest.raises(DataError, match=r"has the folders train and test; leave out options.test_path"):
        prepare(own(**options), tmp_path / "other")


def test_what_is_left_out_or_linked_is_said_with_counts(tmp_path):
    folder = photos(tmp_path / "photos", 20)
    photos(folder / ".ipynb_checkpoints", 5)
    for number, name in enumerate(("a.webp", "b.webp", "c.tif")):
        Image.fromarray(random_images(1, (8, 8, 3), number)[0]).save(folder / name)
    other = photos(tmp_path / "elsewhere", 15, 5)
    (folder / "linked").symlink_to(other)
    (folder / "again").symlink_to(folder)
    (folder / "broken.png").symlink_to(tmp_path / "nowhere")
    os.mkfifo(folder / "pipe.png")
    assert counts(own(folder, test=5), tmp_path / "datasets")[0] == {"train": 20, "val": 10, "test": 5}
    assert notes(own(folder, test=5), tmp_path / "datasets") == [
        "1 .tif files left out: only .png, .jpg, .jpeg are read",
        "2 .webp files left out: only .png, .jpg, .jpeg are read",
        "2 broken links or special files left out",
        "1 folders met again through a link left out",
        "1 hidden files or folders left out",
        "15 images taken in through links",
    ]


def test_files_beside_train_and_test_are_counted(tmp_path):
    for split in ("train", "test", "val"):
        photos(tmp_path / "photos" / split, 20, len(split))
    assert notes(own(tmp_path / "photos"), tmp_path / "datasets") == [
        "1 files or folders beside train and test left out"
    ]


def turned(orientation, kind, **options):
    """The file of an image that viewers show with its bright row on top, whatever its pixels' order."""
    upright = np.zeros((8, 8, 3), np.uint8)
    upright[0] = 255
    stored = {1: upright, 3: upright[::-1, ::-1], 6: np.rot90(upright, 1), 8: np.rot90(upright, -1)}
    exif = Image.Exif()
    exif[0x0112] = orientation
    return Image.fromarray(np.ascontiguousarray(stored[orientation])), {"exif": exif, **options}


@pytest.mark.parametrize("orientation", [1, 3, 6, 8])
@pytest.mark.parametrize("kind", ["png", "jpg"])
def test_an_image_is_read_as_viewers_show_it(tmp_path, orientation, kind):
    image, options = turned(orientation, kind, quality=100)
    image.save(tmp_path / f"a.{kind}", **options)
    ((_, images, _),) = formats.folder({"path": tmp_path}, SHAPE)
    assert images[0, :, 0].min() > 200 and images[0, :, 1:].max() < 60


def test_an_orientation_in_a_text_of_a_png_is_honoured(tmp_path):
    from PIL.PngImagePlugin import PngInfo

    image, _ = turned(3, "png")
    text = PngInfo()
    text.add_itxt("XML:com.adobe.xmp", '<x tiff:Orientation="3"/>')
    image.save(tmp_path / "a.png", pnginfo=text)
    ((_, images, _),) = formats.folder({"path": tmp_path}, SHAPE)
    assert images[0, :, 0].min() == 255 and images[0, :, 1:].max() == 0


def test_a_name_that_is_no_text_is_read(tmp_path):
    folder = photos(tmp_path / "photos", 20)
    os.rename(os.fsencode(folder / "00.png"), os.fsencode(folder) + b"/caf\xe9.png")
    assert counts(own(folder, test=5), tmp_path / "datasets")[0]["train"] == 5
    assert counts(own(folder, test=5), tmp_path / "datasets")[1] == "already prepared, verified"


def test_an_image_that_cannot_be_read_is_named(tmp_path, monkeypatch):
    folder = photos(tmp_path / "photos", 20)
    given, root = own(folder, test=5), tmp_path / "datasets"

    def refuse(path, *arguments, **options):
        if Path(str(path)).name == "07.png":
            raise PermissionError(13, "Permission denied", str(path))
        return real(path, *arguments, **options)

    real = open
    for prepared in (False, True):
        if prepared:
            prepare(given, root)
        with monkeypatch.context() as changed:
            changed.setattr("builtins.open", refuse)
            with pytest.raises(DataError, match=r"cannot read .*07.png: Permission denied; make it readable"):
                prepare(given, root)


def test_a_folder_that_cannot_be_listed_is_not_left_out_silently(tmp_path, monkeypatch):
    photos(photos(tmp_path / "photos", 20) / "deeper", 5)

    def refuse(path):
        if str(path).endswith("deeper"):
            raise PermissionError(13, "Permission denied", str(path))
        return real(path)

    real = os.scandir
    monkeypatch.setattr(os, "scandir", refuse)
    with pytest.raises(DataError, match=r"cannot read .*deeper: Permission denied"):
        own_files(own(tmp_path / "photos", test=5))


def test_home_of_nobody_is_one_line(tmp_path):
    with pytest.raises(DataError, match=r"options.path: ~nobody-here/x: .*; correct it"):
        prepare(own("~nobody-here/x", test=5), tmp_path / "datasets")


@pytest.mark.parametrize("channels", [2, 4, 13])
def test_images_are_grey_or_rgb(channels):
    with pytest.raises(ConfigError, match=rf"shape.0: Input should be 1 or 3, got {channels}"):
        dataset(format="npy", shape=[channels, 8, 8])


@pytest.mark.parametrize("content", [b"x", "another array"])
def test_a_npy_file_that_goes_on_after_its_array_is_refused(tmp_path, content):
    with open(tmp_path / "a.npy", "wb") as stream:
        np.save(stream, random_images(40, SHAPE))
        if content == b"x":
            stream.write(content)
        else:
            np.save(stream, random_images(40, SHAPE, 1))
    given = dataset(format="npy", shape=list(SHAPE), options={"path": str(tmp_path / "a.npy"), "test": 5})
    with pytest.raises(DataError, match=r"a.npy continues after what its header promises"):
        prepare(given, tmp_path / "datasets")


def test_the_command_says_what_was_left_out(workplace, capsys, monkeypatch):
    loading._load.cache_clear()
    (workplace / "config").unlink()
    (workplace / "config" / "datasets").mkdir(parents=True)
    folder = photos(workplace / "photos", 20)
    (folder / "x.webp").touch()
    (workplace / "config" / "datasets" / "mine.yaml").write_text(
        "{name: mine, format: folder, shape: [3, 8, 8], validation: 5, options: {path: photos, test: 5}}"
    )
    assert main(["data", "mine"]) == 0
    assert "photos: 1 .webp files left out" in capsys.readouterr().out
