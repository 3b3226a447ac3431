import numpy as np
import pytest

from marscf.errors import MarscfError
from marscf.evaluation.stream import fill


class Counter:
    """Rows that hold their own index; counts the batches, and breaks off before one of them."""

    def __init__(self, stop_at=None):
        self.calls, self.stop_at = [], stop_at

    def __call__(self, start, stop):
        if start == self.stop_at:
            raise KeyboardInterrupt
        self.calls.append(start)
        return np.arange(start, stop, dtype=np.float32)[:, None] * np.ones((1, 3), np.float32)


def test_an_interruption_loses_one_batch_at_most(tmp_path):
    path = tmp_path / "deep" / "x.npy"
    with pytest.raises(KeyboardInterrupt):
        fill(path, (10, 3), np.float32, Counter(stop_at=8), 4)
    again = Counter()
    array = fill(path, (10, 3), np.float32, again, 4)
    assert again.calls == [8]
    np.testing.assert_array_equal(array[:, 0], np.arange(10))
    third = Counter()
    fill(path, (10, 3), np.float32, third, 4)
    assert third.calls == []


def test_it_says_after_the_first_batch_how_long_the_others_take(tmp_path, monkeypatch, capsys):
    clock = iter(range(0, 1000, 60))
    monkeypatch.setattr("marscf.evaluation.stream.time.perf_counter", lambda: next(clock))
    with pytest.raises(KeyboardInterrupt):
        fill(tmp_path / "x.npy", (1010, 3), np.float32, Counter(stop_at=12), 4, desc="likelihood")
    words = [line for line in capsys.readouterr().err.splitlines() if "images are left" in line]
    assert words == ["likelihood: 1,006 of 1,010 images are left, about 4.2 h (60 s for the first 4)"]
    fill(tmp_path / "y.npy", (4, 3), np.float32, Counter(), 4, desc="likelihood")
    assert "left" not in capsys.readouterr().err  # nothing is


def test_a_file_cut_short_is_made_again(tmp_path):
    path = tmp_path / "x.npy"
    fill(path, (10, 3), np.float32, Counter(), 4)
    path.write_bytes(path.read_bytes()[:-8])
    again = Counter()
    np.testing.assert_array_equal(fill(path, (10, 3), np.float32, again, 4)[:, 2], np.arange(10))
    assert again.calls == [0, 4, 8]


def test_a_lost_or_damaged_marker_starts_anew(tmp_path):
    path = tmp_path / "x.npy"
    fill(path, (4, 3), np.float32, Counter(), 4)
    path.with_suffix(".json").write_text("{")
    again = Counter()
    fill(path, (4, 3), np.float32, again, 4)
    assert again.calls == [0]


def test_an_unwritable_folder_ends_in_one_line(tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(MarscfError, match="cannot write"):
        fill(tmp_path / "file" / "x.npy", (1, 1), np.float32, Counter(), 1)
