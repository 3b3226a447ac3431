import csv
import json
import math
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace

import pytest
import torch

from marscf.cli import main
from marscf.config import SamplingSpeed, load_config, loading
from marscf.errors import CheckpointError, ConfigError
from marscf.runs import run_config
from marscf.settings import DataSettings, RunConfig, TrainingSettings
from marscf.studies import sampling_speed
from marscf.studies.sampling_speed import Point, measure, plan, predicted_seconds, sweep
from marscf.studies.scaling import levels_at, sequential_steps
from marscf.studies.weights import smooth_images


def read(path):
    with open(path) as stream:
        return list(csv.DictReader(stream))


@pytest.fixture
def measured(monkeypatch):
    """The points that are really measured, in order, `(system, side)`."""
    seen = []

    def spy(point, *rest):
        seen.append((point.config.system, point.image_size))
        return measure(point, *rest)

    monkeypatch.setattr(sampling_speed, "measure", spy)
    return seen


def test_every_point_and_repeat_has_a_row(place):
    assert main(["study", "sampling-speed", "--scale", "tiny", "--device", "cpu"]) == 0
    rows = read("reports/tiny/sampling_speed.csv")
    assert list(rows[0]) == sampling_speed.COLUMNS
    keys = [(row["system"], row["image_size"], row["repeat"]) for row in rows]
    systems = ("iterative", "two-modes")
    assert keys == [(s, n, r) for s in systems for n in ("8", "16", "32") for r in "012"]
    for row in rows:
        assert float(row["milliseconds"]) > 0 and math.isfinite(float(row["milliseconds"]))
        assert row["sequential_steps"] == "1" and row["batch_size"] == "2" and row["channels"] == "1"
        assert int(row["levels"]) == math.log2(int(row["image_size"]) / 4)
        assert "thread" in row["device"]


def test_fewer_repeats_where_they_are_asked_for(place):
    command = ["study", "sampling-speed", "--scale", "tiny", "--systems", "two-modes", "--device", "cpu"]
    assert main([*command, "--repeats", "2"]) == 0
    assert {row["repeat"] for row in read("reports/tiny/sampling_speed.csv")} == {"0", "1"}
    assert main([*command, "--repeats", "200"]) == 0  # no more than the scale has
    assert {row["repeat"] for row in read("reports/tiny/sampling_speed.csv")} == {"0", "1", "2"}


def test_without_names_the_systems_of_the_scale_are_timed(place):
    config = Path("config/scales/tiny.yaml")
    config.write_text(config.read_text() + "systems: [two-modes]\n")
    loading._load.cache_clear()
    assert list(plan(load_config(), "tiny")) == ["two-modes"]
    assert list(plan(load_config(), "tiny", ["iterative"])) == ["iterative"]


def test_published_checkpoints_are_timed_with_their_own_options(place, make_run):
    """Systems without a checkpoint for the sweep's dataset are left out."""
    config = Path("config/scales/tiny.yaml")
    config.write_text(config.read_text() + "published: true\n")
    loading._load.cache_clear()
    run = make_run("two-modes")
    config = run_config(run).to_json() | {"options": {"levels": 3}}
    (run / "config.json").write_text(json.dumps(config))
    points = plan(load_config(), "tiny")
    assert list(points) == ["two-modes"]
    assert {point.image_size: point.config.options["levels"] for point in points["two-modes"]}[8] == 3


def test_numbers_of_blocks_follow_the_levels(place, make_run):
    """A published Residual Flow names them by resolution; at another side it has another number of these."""
    config = replace(run_config(make_run("two-modes")), options={"levels": 2, "blocks": [4, 3, 2]})
    settings = SamplingSpeed(channels=1)
    for side, levels, blocks in [(4, 1, [4, 3]), (8, 2, [4, 3, 2]), (32, 4, [4, 3, 2, 2, 2])]:
        options = sampling_speed._point(config, settings, side).config.options
        assert (options["levels"], options["blocks"]) == (levels, blocks)


def test_systems_are_chosen_and_unknown_ones_refused(place, capsys):
    out = Path("elsewhere.csv")
    assert sweep("tiny", ["slow"], "cpu", out) == out
    assert {(row["system"], row["levels"]) for row in read(out)} == {("slow", "0")}  # it has no levels
    assert main(["study", "sampling-speed", "--scale", "tiny", "--systems", "two-mode"]) == 2
    assert "did you mean 'two-modes'" in capsys.readouterr().err
    assert main(["study", "sampling-speed", "--scale", "tinny"]) == 2
    with pytest.raises(ConfigError, match="no device"):
        sweep("tiny", ["slow"], "cuda:99")


def test_an_interrupted_sweep_goes_on(place, measured, monkeypatch):
    spy = sampling_speed.measure

    def interrupted(point, *rest):
        if len(measured) == 4:
            raise KeyboardInterrupt
        return spy(point, *rest)

    monkeypatch.setattr(sampling_speed, "measure", interrupted)
    with pytest.raises(KeyboardInterrupt):
        sweep("tiny", device="cpu")
    assert not Path("reports/tiny/sampling_speed.csv").exists()
    first = list(measured)
    monkeypatch.setattr(sampling_speed, "measure", spy)
    rows = read(sweep("tiny", device="cpu"))
    assert len(measured) == len(set(measured)) == 6 and measured[:4] == first
    assert len(rows) == 18
    # Once more: everything is known, and the table is the same.
    assert read(sweep("tiny", device="cpu")) == rows and len(measured) == 6


def test_other_settings_or_a_damaged_record_are_measured_afresh(place, measured, capsys):
    sweep("tiny", ["two-modes"], "cpu")
    place("sampling_speed", repeats=2)
    assert len(read(sweep("tiny", ["two-modes"], "cpu"))) == 6
    assert len(measured) == 6
    Path("reports/tiny/sampling_speed.json").write_text("{")
    sweep("tiny", ["two-modes"], "cpu")
    assert len(measured) == 9 and "damaged" in capsys.readouterr().err


def test_a_budget_bounds_the_repeats_and_leaves_out_what_is_too_slow(place, capsys, monkeypatch):
    clock = [0.0]  # of its own: a busy machine changes nothing
    sleep = SimpleNamespace(sleep=lambda seconds: clock.append(clock[-1] + seconds))
    monkeypatch.setattr("two_modes.time", sleep)
    monkeypatch.setattr("marscf.studies.sampling_speed.time", SimpleNamespace(perf_counter=lambda: clock[-1]))
    # 0.002 s at 8×8, 0.032 at 16×16, then 0.5 at 32×32: over ten budgets.
    place("sampling_speed", repeats=500, budget_seconds=0.03)
    rows = read(sweep("tiny", ["slow"], "cpu"))
    count = {side: sum(row["image_size"] == side for row in rows) for side in ("8", "16", "32")}
    assert 15 <= count["8"] <= 16 and count["16"] == 2 and count["32"] == 0
    record = json.loads(Path("reports/tiny/sampling_speed.json").read_text())
    assert [(skip["system"], skip["image_size"]) for skip in record["skipped"]] == [("slow", 32)]
    assert "slow at 32×32 is left out" in capsys.readouterr().err
    assert {"device", "threads", "torch"} <= record["machine"].keys()
    place("sampling_speed", repeats=3, budget_seconds=0.03, unlimited=["slow"])
    rows = read(sweep("tiny", ["slow"], "cpu"))
    assert [sum(row["image_size"] == side for row in rows) for side in ("8", "16", "32")] == [3, 3, 3]


def test_prediction_is_the_power_law_through_the_last_two():
    assert predicted_seconds(8, {}) == 0
    assert predicted_seconds(16, {8: 0.5}) == pytest.approx(2.0)
    assert predicted_seconds(64, {8: 9.0, 16: 1.0, 32: 8.0}) == pytest.approx(64.0)


def test_iterative_inverses_are_timed_with_a_trained_runs_weights(make_run, measured):
    sweep("tiny", ["iterative"], "cpu")
    points = json.loads(Path("reports/tiny/sampling_speed.json").read_text())["points"]
    assert all("no trained run" in point["weights"] for point in points)
    make_run("iterative", shift=0.125)
    sweep("tiny", ["iterative"], "cpu")
    assert len(measured) == 6  # what was measured with other weights is measured again
    points = json.loads(Path("reports/tiny/sampling_speed.json").read_text())["points"]
    by_side = {point["image_size"]: point["weights"] for point in points}
    # At 8×8 the run has all tensors, at larger sides it lacks the deeper levels'.
    assert "2 of 2 tensors" in by_side[8] and "1 of 2 tensors" in by_side[32]
    sweep("tiny", ["iterative"], "cpu")
    assert len(measured) == 6


def test_weights_that_their_receipt_does_not_tell_of_are_not_timed(make_run):
    run = make_run("iterative", shift=0.125)
    (run / "receipt.json").write_text(json.dumps({"weights_sha256": "0" * 64}))
    with pytest.raises(CheckpointError, match="not the file that the run's receipt tells of"):
        sweep("tiny", ["iterative"], "cpu")


def test_other_systems_take_fresh_weights(make_run):
    make_run("two-modes", shift=0.125)
    (point, *_) = plan(load_config(), "tiny", ["two-modes"])["two-modes"]
    timing = measure(point, SamplingSpeed(repeats=2), torch.device("cpu"))
    assert timing.weights == sampling_speed.ANY_WEIGHTS and timing.weights_sha256 is None


def test_smooth_images_fill_the_range_and_fall_off_with_frequency():
    images = smooth_images(4, (3, 64, 64), 17, torch.device("cpu"))
    assert images.shape == (4, 3, 64, 64) and images.dtype == torch.uint8
    assert images.max() == 16 and images.min() == 0
    spectrum = torch.fft.rfft2(images.double() - images.double().mean()).abs()
    assert spectrum[..., :4, :4].mean() > 5 * spectrum[..., 28:32, 28:32].mean()


@pytest.mark.parametrize("channels", [1, 3])
@pytest.mark.parametrize("coupling", ["affine", "mixlogcdf"])
def test_counted_steps_of_mar_scf_are_linear_in_the_side_to_the_step(channels, coupling):
    options = {"coupling": coupling, "prior": "mar", "steps": 1, "channels": 4, "lstm_channels": 4}
    options |= {"lstm_layers": 1, "components": 2, "blocks": 1, "heads": 1}
    counted = {}
    for side in (4, 8, 16, 32, 64):
        levels = levels_at(side, 8, 2)
        config = RunConfig(
            **{"scale": "tiny", "dataset": "digits", "system": "marscf", "seed": 0, "seed_value": 0},
            model="multiscale_flow.MultiScaleFlow",
            options={**options, "levels": levels},
            training=TrainingSettings(),
            data=DataSettings((channels, side, side), 17, channels * side**2, "none"),
        )
        timing = measure(Point(config, 1), SamplingSpeed(repeats=2), torch.device("cpu"))
        counted[side] = timing.sequential_steps
        assert counted[side] == sequential_steps(channels, levels)
    # A line through all points, to the step.
    assert list(counted.values()) == [channels * (3 * side // 2 - 2) for side in counted]
