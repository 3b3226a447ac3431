"""`marscf checkpoints` with hostile mirrors and lists: what is sound becomes runs, the rest is said."""

import io
import json
import os
import random
import shutil
import zipfile
from pathlib import Path

import hostile
import pytest

from marscf.cli import main
from marscf.compat.index import FIRST, FOLDER, INDEX, published_runs
from marscf.config import loading

SOUND = ["marscf_cifar10_affine_1_4.pt"]


@pytest.fixture
def mirror(tmp_path, monkeypatch):
    """An empty mirror, and a working directory with the project's configuration."""
    monkeypatch.chdir(tmp_path)
    shutil.copytree(Path(__file__).parents[2] / "config", "config")
    loading._load.cache_clear()
    (tmp_path / "mirror" / "mar-scf").mkdir(parents=True)
    yield tmp_path / "mirror"
    loading._load.cache_clear()


@pytest.fixture
def sound(mirror):
    """The same mirror with an archive of one sound checkpoint, listed; its one run."""
    with zipfile.ZipFile(mirror / "mar-scf" / "ckpts.zip", "w") as archive:
        archive.writestr(SOUND[0], hostile.saved(hostile.content_of("mar-scf"), False))
    assert call(mirror) == 0
    return published_runs()[0].run


def call(mirror, *more):
    return main(["checkpoints", "--mirror", str(mirror), "--offline", *more])


def one_line(capsys, *words):
    error = capsys.readouterr().err
    assert error.count("\n") == 1 and error[:-1].isprintable() and len(error) < 3000, error
    assert all(word in error for word in words), error


def test_hostile_members_are_left_and_said(mirror, capsys, tmp_path):
    whole = hostile.saved(hostile.content_of("mar-scf"), False)
    hostile_members = {
        "ckpts/marscf_cifar10_affine_2_4.pt": whole,  # another number of steps than it has
        "more/" + SOUND[0]: whole,  # the name of another one
        "../marscf_cifar10_affine_1_5.pt": whole,
        f"{tmp_path}/marscf_cifar10_affine_1_6.pt": whole,
        "x" * 300 + ".pt": whole,
        "line\nbreak.pt": whole,
        "marscf_mnist_affine_1_4.pt": whole[: len(whole) // 2],
        "marscf_imagenet_32_affine_1_4.pt": b"",
        "bomb.pt": bytes(1 << 26),
        ".pt": b"none",
    }
    path = mirror / "mar-scf" / "ckpts.zip"
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr(f"ckpts/{SOUND[0]}", whole)
        for name, content in hostile_members.items():
            archive.writestr(name, content)
        archive.writestr("encrypted.pt", whole)
        archive.writestr("damaged.pt", random.Random(0).randbytes(1000), zipfile.ZIP_STORED)
    content = bytearray(path.read_bytes())
    place = content.rindex(b"PK\x01\x02", 0, content.rindex(b"PK\x01\x02"))
    content[place + 8] |= 1
    content[content.index(b"damaged.pt") + 100] ^= 1
    path.write_bytes(content)
    assert call(mirror) == 0
    out = capsys.readouterr().out
    assert [entry.foreign.path.name for entry in published_runs()] == SOUND
    index = json.loads((FOLDER / INDEX).read_text())
    left = {entry["file"] for entry in index["left"]}
    assert {Path(name).name for name in left} == {Path(name).name for name in hostile_members} | {
        "encrypted.pt", "damaged.pt"
    }  # fmt: skip
    assert out.count("left out:") == len(hostile_members) + 2
    lines = out.splitlines()
    assert all(line.isprintable() for line in lines) and len(lines) == len(index["left"]) + 1 + len(
        index["missing"]
    )
    assert call(mirror, "--run", published_runs()[0].run) == 0
    assert not [*tmp_path.glob("marscf_*"), *FOLDER.glob("marscf_*")]


def archives():
    """Whole archives without a sound member: name → bytes."""
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as archive:
        archive.writestr("x.pt", bytes(100))
    whole = buffer.getvalue()
    yield "nothing", b""
    yield "text", b"weights"
    yield "half", whole[: len(whole) // 2]
    yield "a directory of 4 GB", whole[:-10] + b"\xfe\xff\xff\xff" + whole[-6:]
    yield "records elsewhere", whole.replace(b"PK\x03\x04", b"PK\x03\x05")
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as archive:
        for number in range(1500):
            archive.writestr(f"{number}.pt", b"")
    yield "1,500 members", buffer.getvalue()


@pytest.mark.parametrize("content", [pytest.param(c, id=name) for name, c in archives()])
def test_a_hostile_archive_is_one_line(mirror, capsys, content):
    (mirror / "mar-scf" / "ckpts.zip").write_bytes(content)
    assert call(mirror) == 2
    one_line(capsys, "ckpts.zip" if content[:2] != b"PK" else "")


@pytest.mark.parametrize("kind", ["folder", "loop", "pipe", "nowhere"])
def test_a_thing_in_the_archives_place_is_one_line(mirror, capsys, kind):
    path = mirror / "mar-scf" / "ckpts.zip"
    match kind:
        case "folder":
            path.mkdir()
        case "loop":
            path.symlink_to(path.name)
        case "pipe":
            os.mkfifo(path)
        case "nowhere":
            path.symlink_to("nowhere")
    assert call(mirror) == 2
    one_line(capsys, "ckpts.zip")


LISTS = {
    "nothing": b"", "text": b"x", "no table": b"[]", "null": b"null", "a number": b"5", "digits": b"9" * 5000,
    "no text": b"\xff\xfe\x00", "nested": b"[" * 500_000,
    "runs is a number": b'{"runs": 5}', "runs is text": b'{"runs": "x"}',
    "runs of nothing": b'{"runs": [null]}', "runs of tables": b'{"runs": [{}]}',
    "a value that is a list": b'{"mar-scf": ["x"]}', "a value that is a number": b'{"mar-scf": 5}',
}  # fmt: skip


@pytest.mark.parametrize("content", LISTS.values(), ids=LISTS)
def test_a_hostile_index_is_one_line(sound, mirror, capsys, content):
    (FOLDER / INDEX).write_bytes(content)
    capsys.readouterr()
    assert call(mirror, "--run", sound) == 2
    one_line(capsys, INDEX)
    assert call(mirror) == 0  # which writes it again
    assert published_runs()[0].run == sound


ALTERED = {
    "run": 5,
    "checkpoint": None,
    "source_sha256": [],
    "foreign": "x",
    "config": {"model": "subprocess.Popen"},
}


@pytest.mark.parametrize("name", ALTERED)
def test_an_altered_index_is_one_line(sound, mirror, capsys, name):
    index = json.loads((FOLDER / INDEX).read_text())
    index["runs"][0][name] = ALTERED[name]
    (FOLDER / INDEX).write_text(json.dumps(index))
    capsys.readouterr()
    assert call(mirror, "--run", sound) == 2
    one_line(capsys, INDEX)


def test_a_checkpoint_that_is_no_longer_what_was_listed(sound, mirror, capsys):
    index = json.loads((FOLDER / INDEX).read_text())
    index["runs"][0]["config"]["options"]["steps"] = 2
    (FOLDER / INDEX).write_text(json.dumps(index))
    capsys.readouterr()
    assert call(mirror, "--run", sound) == 2
    one_line(capsys, SOUND[0], "no longer what was listed")
    assert not Path(sound).exists()


@pytest.mark.parametrize("name", sorted(name for name in LISTS if "runs" not in name))
def test_hostile_first_digests_are_one_line(sound, mirror, capsys, name):
    (FOLDER / FIRST).write_bytes(LISTS[name])
    capsys.readouterr()
    assert call(mirror) == 2
    one_line(capsys, FIRST)


def test_pipes_in_the_lists_places_are_one_line(sound, mirror, capsys):
    capsys.readouterr()
    for name in (INDEX, FIRST):
        (FOLDER / name).unlink()
        os.mkfifo(FOLDER / name)
    assert call(mirror, "--run", sound) == 2
    one_line(capsys, INDEX)
    assert call(mirror) == 2
    one_line(capsys, FIRST)
