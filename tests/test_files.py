"""Files that are written beside their name and renamed."""

import os
import signal

import pytest

from marscf.files import replacing


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


def test_what_fails_leaves_the_old_file(tmp_path):
    (tmp_path / "run.json").write_text("old")
    with pytest.raises(RuntimeError), replacing(tmp_path / "run.json") as temporary:
        temporary.write_text("half")
        raise RuntimeError
    assert [path.read_text() for path in tmp_path.iterdir()] == ["old"]
