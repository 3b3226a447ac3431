"""Files are replaced whole or not at all."""

import math
import os
import signal
import stat
import subprocess
import sys
import time

import pytest

from marscf.errors import MarscfError
from marscf.files import digest, locked, read_json, replacing, seed_from, sha256_file, write_json


def test_replacing_leaves_the_new_file_alone_in_the_folder(tmp_path):
    path = tmp_path / "deep/a.txt"
    with replacing(path) as temporary:
        assert temporary.parent == path.parent
        temporary.write_text("new")
        assert not path.exists()
    assert path.read_text() == "new"
    assert os.listdir(path.parent) == ["a.txt"]


def test_an_error_keeps_the_old_file_and_leaves_nothing(tmp_path):
    path = tmp_path / "a.txt"
    path.write_text("old")
    with pytest.raises(ZeroDivisionError), replacing(path) as temporary:
        temporary.write_text("half")
        raise ZeroDivisionError
    assert path.read_text() == "old"
    assert os.listdir(tmp_path) == ["a.txt"]


def test_what_a_killed_process_left_is_removed_by_the_next(tmp_path):
    for name in ("run.json", "other.json"):
        child = os.fork()
        if child == 0:
            with replacing(tmp_path / name):
                os.kill(os.getpid(), signal.SIGKILL)
        assert os.waitpid(child, 0)[1] == signal.SIGKILL
    assert len(list(tmp_path.iterdir())) == 2
    with replacing(tmp_path / "run.json") as temporary:
        temporary.write_text("whole")
    other, kept = sorted(path.name for path in tmp_path.iterdir())
    assert other.startswith(".other.json.") and kept == "run.json"


def test_what_another_is_writing_stays(tmp_path):
    with replacing(tmp_path / "run.json") as first:
        with replacing(tmp_path / "run.json") as second:
            assert first != second and first.exists()
            second.write_text("second")
        first.write_text("first")
    assert [path.name for path in tmp_path.iterdir()] == ["run.json"]
    assert (tmp_path / "run.json").read_text() == "first"


def test_permissions_follow_the_umask(tmp_path):
    mask = os.umask(0o027)
    try:
        write_json(tmp_path / "a.json", 1)
    finally:
        os.umask(mask)
    assert stat.S_IMODE((tmp_path / "a.json").stat().st_mode) == 0o640


def test_a_folder_that_cannot_be_written(tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(MarscfError, match=r"cannot write .*choose a writable folder"):
        write_json(tmp_path / "file/a.json", 1)


def test_json(tmp_path):
    path = tmp_path / "a.json"
    write_json(path, {"x": [1, 0.5, None]})
    assert read_json(path) == {"x": [1, 0.5, None]}
    for value in (math.nan, math.inf):
        with pytest.raises(ValueError, match="not JSON compliant"):
            write_json(path, value)
    assert read_json(path) == {"x": [1, 0.5, None]}
    path.write_text('{"x": ')
    with pytest.raises(MarscfError, match=r"cannot read .*a\.json"):
        read_json(path)
    with pytest.raises(MarscfError, match="no such file"):
        read_json(tmp_path / "b.json")


def test_hashes(tmp_path):
    (tmp_path / "a").write_bytes(b"abc")
    assert sha256_file(tmp_path / "a").startswith("ba7816bf8f01cfea414140de5dae2223")
    assert digest({"a": 1, "b": 2}) == digest({"b": 2, "a": 1}) != digest({"a": 1, "b": 3})


def test_seeds_are_for_ever():
    assert seed_from("quick", "digits", "glow", 0) == 205098673
    assert seed_from("a", "b") != seed_from("b", "a")
    assert 0 <= seed_from("x") < 2**32


def held(folder, file, seconds):
    """Another process that holds a lock; returns once it does."""
    code = (
        "import sys, time; from pathlib import Path; from marscf.files import locked\n"
        f"with locked(Path({str(folder)!r}), {file!r}): print('held', flush=True); time.sleep({seconds})"
    )
    process = subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE, text=True)
    assert process.stdout.readline() == "held\n"
    return process


@pytest.mark.parametrize("file", [None, ".lock"])
def test_a_lock_waits_or_refuses_and_ends_with_its_process(tmp_path, file):
    process = held(tmp_path, file, 60)
    holder = f"process {process.pid}" if file else "another process"
    with (
        pytest.raises(MarscfError, match=f"^taken by {holder}$"),
        locked(tmp_path, file, "taken by {holder}"),
    ):
        pass
    process.kill()
    process.wait()
    with locked(tmp_path, file, "taken by {holder}"):
        pass
    process, started = held(tmp_path, file, 0.5), time.monotonic()
    with locked(tmp_path, file):
        assert time.monotonic() - started > 0.3
    process.wait()
