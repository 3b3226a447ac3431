"""The arithmetic of a plan: work times cost, memory against what there is, what would fit instead."""

import json
from dataclasses import replace

import pytest

from marscf.cli import main
from marscf.config import load_config, resolve
from marscf.errors import ConfigError
from marscf.files import write_json
from marscf.planning import estimate, recorded, shown, work
from marscf.planning.counted import Counts
from marscf.planning.probe import MEASURED, ZERO, Probe, Timing
from marscf.runs import Run, config_hash
from marscf.settings import TrainingSettings

GIGABYTE = 10**9


def one_run(steps=100, **training):
    """A run of glow at scale quick, of which nothing is done, with settings of training changed."""
    run = Run("quick", "digits", "glow", 0)
    config = resolve(load_config(), "quick", "digits", "glow", 0)
    config = replace(config, training=replace(config.training, steps=steps, batch_size=64, **training))
    evaluation = load_config().scale("quick").evaluation
    numbers = {"steps": steps, "validated": 50, "scored": 1000, "scored_once": 100}
    return work.Left(run, config, evaluation, **numbers, drawn=200, grid=64, fidelity=True, walked=0)


PROBE = Probe(
    source=MEASURED,
    counts=Counts(10**7, 2.0, GIGABYTE, GIGABYTE / 10),
    step=Timing(0.5, 0.4),
    score=Timing(0.01, 0.01),
    sample=Timing(0.02, 0.02),
    noisy=True,
    base_bytes=GIGABYTE,
    start=Timing(2.0, 1.0),
)
MACHINE = estimate.Machine("cpu", "a CPU", 2, 2, 200 * GIGABYTE, 10**12)


def estimated(left, probe=PROBE, machine=MACHINE):
    return estimate._of_run(left, probe, {8: Timing(0.003, 0.003)}, machine)


def test_a_run_takes_its_work_times_the_costs():
    run = estimated(one_run())
    assert run.train.seconds == pytest.approx(2 + 100 * 0.5 + 50 * 0.01)
    assert run.train.cpu_seconds == pytest.approx(1 + 100 * 0.4 + 50 * 0.01)
    assert run.likelihood.seconds == pytest.approx(2 + 1000 * 0.01)
    assert run.fidelity.seconds == pytest.approx(2 + 200 * (0.02 + 0.001) + estimate.COMPARED)
    assert run.rest.seconds == pytest.approx(2 + 64 * 0.02)


def test_a_likelihood_without_noise_is_scored_once():
    assert estimated(one_run(), replace(PROBE, noisy=False)).likelihood.seconds == pytest.approx(2 + 1)


def test_memory_is_of_the_process_the_weights_and_one_part_of_the_batch():
    fixed = GIGABYTE + 6 * 4 * 10**7
    assert estimated(one_run()).memory() == fixed + 64 * GIGABYTE
    assert estimated(one_run(accumulate=4)).memory() == fixed + 16 * GIGABYTE
    assert estimated(one_run(activation_checkpointing=True)).memory() == fixed + 6.4 * GIGABYTE


@pytest.mark.parametrize(
    ("room", "probe", "words"),
    [
        (40, PROBE, "accumulate: 2} needs 33.2 GB"),
        (2, PROBE, "accumulate: 64} needs 2.2 GB"),
        (1.4, PROBE, "accumulate: 64, activation_checkpointing: true} needs 1.3 GB"),
        (1.4, replace(PROBE, counts=Counts(10**7, 2.0, GIGABYTE)), "take a smaller scale"),
    ],
)
def test_what_does_not_fit_is_told_what_would(room, probe, words):
    room = room + 0.3 if room == 2 else room
    line = estimate._instead(estimated(one_run(), probe), room * GIGABYTE)
    assert words in line and line.startswith("needs 65.2 GB, there are")


def test_jobs_that_run_at_once_share_the_time_and_the_sweep_runs_alone():
    selection = work.select(load_config(), "quick", ["glow"])
    sweep = Timing(10.0, 10.0)
    run = estimated(one_run())
    whole = estimate.Whole(selection, MACHINE, [run, run, run], {}, sweep, 0, 0, [])
    assert whole.seconds == pytest.approx((whole.total.seconds - 10) / 2 + 10)
    alone = replace(whole, runs=[run])  # one training is not shared by two cores
    assert alone.seconds == pytest.approx(alone.total.seconds)
    text = "\n".join(shown.lines(whole))
    assert "sampling speeds at most 10 s" in text and "128 " in text  # GFLOP of a step: 64 images of 2
    assert json.loads(json.dumps(shown.to_json(whole)))["runs"][0]["gflops_per_step"] == 128


def test_the_next_smaller_scale_is_named():
    config = load_config()
    scales = ["quick", "laptop", "cpu-hours", "gpu-hour", "paper"]
    names = [estimate.smaller_scale(work.select(config, name)) for name in scales]
    assert names == [None, *scales[:-1]]


# ---- what is done already


def test_a_finished_run_has_no_steps_left_and_an_interrupted_one_those_after_its_state(tmp_path):
    config = resolve(load_config(), "quick", "digits", "glow", 0)
    steps = config.training.steps
    assert work.steps_left(tmp_path, config) == steps
    (tmp_path / "state-00000200.pt").touch()
    assert work.steps_left(tmp_path, config) == steps - 200
    receipt = {"config": config.to_json(), "config_hash": config_hash(config), "data_digest": "x"}
    write_json(tmp_path / "finished.json", receipt)
    assert work.steps_left(tmp_path, replace(config, dataset="not-prepared", seed=1)) == steps
    other = replace(config, dataset="not-prepared")
    receipt |= {"config": other.to_json(), "config_hash": config_hash(other)}
    write_json(tmp_path / "finished.json", receipt)
    assert work.steps_left(tmp_path, other) == 0


def test_images_of_a_dataset_that_is_not_prepared(monkeypatch, tmp_path):
    config = load_config()
    monkeypatch.chdir(tmp_path)
    known = {"train": 1281149 - 5000, "val": 5000, "test": 49999}
    assert work.counts(config.dataset("imagenet32")) == (known, True)
    assert work.counts(config.dataset("cifar10")) == (work.ASSUMED, False)
    assert work.to_download(config.dataset("cifar10"), None) == 170052171
    assert work.to_download(config.dataset("digits"), None) == 0


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["--scale", "published"], "trains nothing"),
        (["--systems", "glo"], "did you mean 'glow'"),
        (["--datasets", "mnist"], "no dataset 'mnist' at scale quick"),
        (["--device", "h999"], "no record of it"),
    ],
)
def test_a_mistake_is_one_line(arguments, words, capsys):
    assert main(["plan", "--scale", "quick", *arguments]) == 2
    assert words in capsys.readouterr().err


# ---- a machine that is not here


def row(work, coupling, implementation, seconds, gigaflop=1000.0):
    of = {"steps": 4, "channels": 96, "gigaflop": gigaflop, "median_seconds": seconds}
    return {"work": work, "coupling": coupling, "implementation": implementation, **of}


@pytest.fixture
def records(tmp_path):
    rows = [
        row("training", "mixlogcdf", "float32 graph", 0.1),
        row("training", "mixlogcdf", "bfloat16 compiled graph", 0.02),
        row("training", "mixlogcdf", "float32", 0.5),
        row("evaluation", "affine", "float32 graph", 0.04),
        row("sampling", "affine", "float32 graph", 0.2),
    ]
    write_json(
        tmp_path / "big" / "training-mixlogcdf.json", {"machine": {"device": "NVIDIA H200"}, "rows": rows}
    )
    write_json(
        tmp_path / "growth-affine.json", {"machine": {"device": "a CPU"}, "rows": [{"work": "training"}]}
    )
    return recorded.find("h200", tmp_path)


def test_a_rate_is_that_of_the_nearest_record(records):
    plain, fast = TrainingSettings(), TrainingSettings(precision="bfloat16", compile=True)
    assert records.device == "NVIDIA H200"
    assert records.training("mine", "mixlogcdf", True, plain).flops == pytest.approx(1e12 / 0.1)
    assert records.training("mine", "mixlogcdf", True, fast).flops == pytest.approx(1e12 / 0.02)
    stands_in = records.training("mine", "affine", True, plain)  # evaluation's: it has none of training
    assert stands_in.flops == pytest.approx(1e12 / 0.04) and "evaluation, affine" in stands_in.of
    assert records.training("mine", None, False, plain).flops == pytest.approx(1e12 / 0.5)  # kernel by kernel
    assert records.work("sampling", "mine", "affine", True).flops == pytest.approx(1e12 / 0.2)


def test_a_system_has_the_rate_of_its_own_record(records, tmp_path):
    def own(name, seconds):
        return {"work": "training", "system": "glow", "implementation": name, "median_seconds": seconds}

    rows = [own("ours", 0.25) | {"parameters": 1000}, own("peer", 9.0), own("yardstick", 9.0)]
    content = {"machine": {"device": "NVIDIA H200"}, "gigaflop": 500.0, "rows": rows}
    write_json(tmp_path / "big" / "systems" / "training-glow-laptop-cifar10.json", content)
    records = recorded.find("h200", tmp_path)
    plain, fast = TrainingSettings(), TrainingSettings(precision="bfloat16", compile=True)
    found = records.training("glow", "affine", True, plain)
    assert found.flops == pytest.approx(5e11 / 0.25) and found.of == "training, glow with 1,000 parameters"
    assert records.training("glow", "affine", True, fast).of != found.of  # the record is in float32
    assert records.training("mine", None, False, plain).flops == pytest.approx(1e12 / 0.5)


def test_an_unknown_machine_names_the_known_ones(records, tmp_path):
    with pytest.raises(ConfigError, match="known: NVIDIA H200"):
        recorded.find("a100", tmp_path)


def test_the_records_of_the_repository_can_be_read():
    assert recorded.find("h200").training("mine", "mixlogcdf", True, TrainingSettings()).flops > 1e12


def test_a_plan_by_records_says_so(records):
    elsewhere = estimate.elsewhere(records, MACHINE)
    selection = work.select(load_config(), "quick", ["glow"])
    run = estimated(one_run(), replace(PROBE, source="training, affine 4×96, float32"), elsewhere)
    text = "\n".join(shown.lines(estimate.Whole(selection, elsewhere, [run], {}, ZERO, 0, 0, [])))
    assert "On NVIDIA H200, not on this machine: by the records" in text
    assert "digits glow: at the rate of training, affine 4×96, float32" in text
