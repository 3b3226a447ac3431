"""What training refuses, in one line each: bad input, a full disk, a folder that another process holds."""

import json
import os
import resource
from types import SimpleNamespace

import pytest
import workers
from comparing import assert_same

from marscf.cli import main
from marscf.errors import ConfigError, MarscfError
from marscf.files import read_json, seed_from, write_json
from marscf.runs import CONFIG, run_config
from marscf.training.lock import locked
from marscf.training.run import train_run


def test_a_full_disk_loses_nothing(processes, make_run, place):
    def run(**options):
        process = processes.Process(
            target=workers.train, args=(folder, place), kwargs={"log": place / "log", **options}
        )
        process.start()
        process.join(60)
        return process.exitcode, (place / "log").read_text().splitlines()

    folder = make_run()
    assert run(kill_at=("saved", 2))[0] == -9
    saved = {path: path.read_bytes() for path in folder.glob("state-*.pt")}
    code, lines = run(limit=10_000)  # bytes per file; a state has more
    assert code == 2
    assert "disk full" in lines[-1] and "nothing saved is lost" in lines[-1]
    assert {path: path.read_bytes() for path in saved} == saved
    assert not list(folder.glob(".state-*"))
    assert run()[0] == 0
    folder.rename(place / "resumed")
    folder = make_run()
    assert run()[0] == 0
    assert_same(folder, place / "resumed")


def test_a_disk_with_no_room_for_the_lock_s_few_bytes(make_run):
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    folder = make_run()
    try:
        resource.setrlimit(resource.RLIMIT_FSIZE, (0, limits[1]))
        with pytest.raises(MarscfError, match="disk full") as raised:
            train_run(folder, "cpu")
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)
    assert str(folder) in str(raised.value)
    train_run(folder, "cpu")


def test_one_process_a_run(make_run):

    folder = make_run()
    with locked(folder), pytest.raises(MarscfError, match=f"being trained by process {os.getpid()}"):
        train_run(folder, "cpu")
    train_run(folder, "cpu")


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"batch_size": 2, "accumulate": 3}, "training.batch_size: 2 images are fewer than"),
        ({"options": {"chanels": 3}}, "no option 'chanels'; did you mean 'channels'"),
    ],
)
def test_bad_values(make_run, changes, words):
    with pytest.raises(ConfigError, match=words):
        train_run(make_run(**changes), "cpu")


OWN = [
    ({"training": {"steps": -3}}, "training: steps: -3 is not a whole number of at least 1"),
    ({"training": {"steps": 3.5}}, "training: steps: 3.5 is not a whole number"),
    ({"training": {"learning_rate": "0.001"}}, "training: learning_rate: '0.001' is not a number above 0"),
    ({"training": {"learning_rate": float("inf")}}, "training: learning_rate: inf is not a number"),
    ({"training": {"decay": "linear"}}, "training: decay: 'linear' is not one of constant, cosine"),
    ({"training": {"precision": "float16"}}, "precision: 'float16' is not one of float32, bfloat16"),
    ({"training": {"betas": [0.9]}}, r"training: betas: \[0.9\] is not a list of"),
    ({"training": {"lerning_rate": 1}}, "unknown key 'lerning_rate'; did you mean 'learning_rate'"),
    ({"training": {"accumulate": ...}}, r"training: there is no 'accumulate' \(default: 1\); add it"),
    ({"training": ...}, "training: there is no 'steps'"),
    ({"data": ...}, "data: there is no 'shape'"),
    ({"data": {"shape": [1, 0, 8]}}, "data: shape: .* is not a list of a whole number of at least 1"),
    ({"data": {"grey_levels": 16}}, "the run's config says 16, dataset 'digits' has 17; correct one of them"),
    ({"data": {"shape": [1, 4, 4]}}, r"the run's config says \[1, 4, 4\], dataset 'digits' has \[1, 8, 8\]"),
    ({"options": {"levels": 9}}, "levels: 9 levels need sides divisible by 512"),
    ({"seed": 7}, "seed_value: .* does not belong to seed 7; leave it out, or write"),
    ({"seed": -1}, "seed: -1 is not a whole number of at least 0"),
]


def changed(value, changes):
    """A nested table with other values; those that are `...` are taken out."""
    parts = {key: changed(value.get(key, {}), v) if isinstance(v, dict) else v for key, v in changes.items()}
    return {key: part for key, part in {**value, **parts}.items() if part is not ...}


@pytest.mark.parametrize(("changes", "words"), OWN)
def test_a_run_s_own_config_is_checked_as_the_files_of_config_are(make_run, changes, words):
    folder = make_run()
    write_json_with_infinity(folder / CONFIG, changed(read_json(folder / CONFIG), changes))
    with pytest.raises(MarscfError, match=words) as raised:
        train_run(folder, "cpu")
    assert "\n" not in str(raised.value)
    assert not list(folder.glob("state-*"))


def write_json_with_infinity(path, value):
    path.write_text(json.dumps(value))


def test_another_seed_is_other_randomness(make_run):
    folder = make_run()
    config = read_json(folder / CONFIG)
    write_json(folder / CONFIG, changed(config, {"seed": 7, "seed_value": ...}))
    assert run_config(folder).seed_value == seed_from("quick", "digits", "tiny", 7) != config["seed_value"]


def test_imported_weights_are_not_trained_over(make_run):
    folder = make_run()
    write_json(folder / "receipt.json", {"imported_from": "authors.pt"})
    with pytest.raises(ConfigError, match=r"holds weights imported from authors.pt; train in another folder"):
        train_run(folder, "cpu")


def test_a_model_that_cannot_recompute_activations_says_so(make_run):
    unable = SimpleNamespace(model="tiny_model.Unable")
    train_run(make_run(system=unable), "cpu")
    with pytest.raises(ConfigError, match=r"training.activation_checkpointing: tiny_model.Unable cannot"):
        train_run(make_run(system=unable, activation_checkpointing=True), "cpu")


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["data/runs/quick/digits/glowe/seed0"], "unknown system 'glowe'; did you mean 'glow'?"),
        (["data/runs/quik/digits/glow/seed0"], "unknown scale 'quik'; did you mean 'quick'?"),
        (["data/runs/quick/digit/glow/seed0"], "unknown dataset 'digit'; did you mean 'digits'?"),
        (["nowhere"], "nowhere is no run; a run is data/runs/"),
        (["data/runs/quick/digits/glow/seed0", "--device", "gpu"], "unknown device 'gpu'"),
        (["data/runs/quick/digits/glow/seed0", "--device", "cuda:99"], "no device 'cuda:99'"),
        (["data/runs/quick/digits/glow/seed0", "--time-limit", "soon"], "time limit 'soon'"),
        (["data/runs/laptop/mnist/glow/seed0"], "marscf data mnist"),
    ],
)
def test_bad_input_gets_one_line_and_exit_code_2(place, capsys, arguments, words):
    assert main(["train", *arguments]) == 2
    lines = capsys.readouterr().err.splitlines()
    assert len(lines) == 1
    assert lines[0].startswith("marscf train: ")
    assert words in lines[0]


def test_a_folder_that_cannot_be_written(place, capsys):
    (place / "data/runs").write_text("a file in the way")
    assert main(["train", "data/runs/quick/digits/glow/seed0"]) == 2
    assert "cannot write data/runs/quick/digits/glow/seed0" in capsys.readouterr().err
