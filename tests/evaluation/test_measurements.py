"""A measurement is read only beside what it was made from, and only as it was written."""

import json

import numpy as np
import pytest

from marscf.errors import MarscfError
from marscf.evaluation.measured import read_measurements
from marscf.evaluation.measurements import (
    PerImage,
    measurement,
    write_measurements,
    write_per_image,
)
from marscf.files import read_json, write_json
from marscf.runs import Run

RUN = Run("quick", "digits", "glow", 0)
ENTRIES = [measurement("bits_per_dim", 2.0, 0.1, 360, "exact")]


@pytest.fixture
def path(tmp_path, monkeypatch):
    """A run's likelihood.json, with its receipt and scores."""
    monkeypatch.chdir(tmp_path)
    RUN.path.mkdir(parents=True)
    write_json(RUN.path / "receipt.json", {"weights_sha256": "a" * 64, "data_digest": "b" * 64})
    scores = write_per_image(RUN.path, PerImage(np.arange(3.0)[:, None], 1, 0, 64, "b" * 64))
    origin = {"weights_sha256": "a" * 64, "data_digest": "b" * 64, "per_image_sha256": scores}
    write_measurements(RUN.path / "likelihood.json", RUN, ENTRIES, **origin)
    return RUN.path / "likelihood.json"


def test_round_trip(path):
    assert read_measurements(path, RUN) == ENTRIES


@pytest.mark.parametrize(
    ("name", "words"), [("weights_sha256", "with other weights"), ("data_digest", "on other data")]
)
def test_a_measurement_of_something_else_is_refused_with_the_command(path, name, words):
    receipt = read_json(path.with_name("receipt.json"))
    write_json(path.with_name("receipt.json"), {**receipt, name: "c" * 64})
    with pytest.raises(MarscfError, match=rf"{words} than .* has now; run: marscf evaluate likelihood"):
        read_measurements(path, RUN)


def test_scores_of_another_measurement_are_refused(path):
    write_per_image(RUN.path, PerImage(np.arange(4.0)[:, None], 1, 0, 64, "b" * 64))
    with pytest.raises(MarscfError, match="with other scores"):
        read_measurements(path, RUN)


@pytest.mark.parametrize("name", ["scale", "dataset", "system", "seed"])
def test_a_measurement_of_another_run_is_refused(path, name):
    other = Run(**{**vars(RUN), name: 1 if name == "seed" else "other"})
    with pytest.raises(MarscfError, match="not of its folder"):
        read_measurements(path, other)


def test_no_altered_bit_is_read(path):
    """Each is an error of one line, or leaves every number as it was."""
    whole = path.read_bytes()
    for place in range(len(whole)):
        for bit in (0, 2, 5):
            altered = bytearray(whole)
            altered[place] ^= 1 << bit
            path.write_bytes(altered)
            try:
                assert read_measurements(path, RUN) == ENTRIES
                assert json.loads(altered) == json.loads(whole)  # a blank for another
            except MarscfError as error:
                assert "\n" not in str(error)


@pytest.mark.parametrize("length", [0, 1, 40, 200])
def test_a_cut_file_is_one_line(path, length):
    path.write_bytes(path.read_bytes()[:length])
    with pytest.raises(MarscfError):
        read_measurements(path, RUN)


@pytest.mark.parametrize("value", [None, [], 3, "x", {"run": 1}, {"run": {}, "measurements": 1}])
def test_a_file_of_another_form_is_one_line(path, value):
    write_json(path, value)
    with pytest.raises(MarscfError, match=r"is damaged or was altered; run: marscf evaluate likelihood"):
        read_measurements(path, RUN)
