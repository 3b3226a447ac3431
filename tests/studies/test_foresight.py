"""Words on how long a run's measurements take, before they begin."""

import re
import time
from pathlib import Path

import pytest
from two_modes import TwoModes

from marscf.config import loading
from marscf.studies import foresight
from marscf.studies.foresight import foresee
from marscf.studies.interpolation_walk import walk


@pytest.fixture
def slow(digits, make_run, monkeypatch):
    """A run that takes 10 ms an image to score, 20 ms to draw one, 30 ms to move a point once."""

    def taking(seconds, call):
        def slowly(*arguments, **names):
            time.sleep(seconds(*arguments))
            return call(*arguments, **names)

        return slowly

    def moves(model, images, units, choice, settings, progress):
        return 0.03 * len(images) * settings.iterations

    scored = taking(lambda model, x, *rest: 0.01 * len(x), TwoModes.log_prob)
    monkeypatch.setattr(TwoModes, "log_prob", scored)
    monkeypatch.setattr(TwoModes, "sample", taking(lambda model, n, **rest: 0.02 * n, TwoModes.sample))
    monkeypatch.setattr(foresight, "walk", taking(moves, walk))
    return make_run("two-modes")


def test_times_are_those_of_the_model_times_the_images(slow):
    config = Path("config/scales/tiny.yaml")
    config.write_text(config.read_text().replace("extractor: none", "extractor: inception"))
    loading._load.cache_clear()
    found = {}
    for images in (None, 40):
        line = foresee(slow, "cpu", images)
        assert line.startswith(f"{slow} on cpu: ") and "\n" not in line
        assert "interpolation (" in line and " points moved 15 times) about " in line
        found[images] = line
    assert "likelihood of 60 test images about" in found[None] and "50,000 samples for FID" in found[None]
    assert "likelihood of 40 test images about" in found[40] and "40 samples for FID" in found[40]
    units = {"s": 1, "min": 60, "h": 3600}
    times = [float(n) * units[unit] for n, unit in re.findall(r"about ([\d.]+) (s|min|h)", found[None])]
    # 4 draws of the dequantisation; 3 inner points of 8 test pairs, and of 4 validation pairs in 9 ways
    expected = [60 * 4 * 0.01, 50_000 * 0.02, 3 * (8 + 4 * 9) * 15 * 0.03]
    for measured, least in zip(times, expected, strict=True):
        assert 0.9 * least - 0.5 < measured < 3 * least + 0.5  # printed in whole seconds


def test_a_run_is_not_measured_for_what_its_scale_leaves_out(digits, make_run):
    line = foresee(make_run("iterative"), "cpu")
    assert "likelihood of" in line and "FID" not in line and "interpolation" not in line


def test_a_dataset_with_fewer_validation_images_than_a_batch_is_foreseen_too(slow, monkeypatch):
    monkeypatch.setattr(foresight, "_size", lambda model, batch_size: 10_000)  # as on a GPU
    monkeypatch.setattr(foresight, "_second_call", lambda call: (call(), 1.0)[1])
    assert "interpolation (" in foresee(slow, "cpu", 40)
