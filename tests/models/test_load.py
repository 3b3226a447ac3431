"""Weights: saved with their config, refused where they do not fit."""

import json
import shutil
from dataclasses import replace

import numpy as np
import pytest
import safetensors.torch
import torch

import marscf
from marscf import models
from marscf.config import load_config, loading, resolve
from marscf.errors import CheckpointError, ConfigError, MarscfError
from marscf.files import sha256_file, write_json
from marscf.settings import RunConfig

RUN = "data/runs/quick/digits/histogram/seed0"


@pytest.fixture
def run(workplace):
    """A run of the histogram, fitted to random images."""
    folder = workplace / RUN
    folder.mkdir(parents=True)
    config = resolve(load_config(), "quick", "digits", "histogram", 0)
    model = models.build(config)
    model.fit(np.random.default_rng(0).integers(0, 17, (50, 1, 8, 8), np.uint8))
    models.save(model, config, folder / models.WEIGHTS)
    return folder


def test_round_trip(run):
    model = marscf.load(run)
    assert not model.training
    again = models.load(run / "weights.safetensors")
    x = torch.randint(0, 17, (5, 1, 8, 8), dtype=torch.uint8)
    assert torch.equal(model.log_prob(x), again.log_prob(x))


def test_files_hold_the_config_and_are_the_same_each_time(run):
    path = run / "weights.safetensors"
    with safetensors.safe_open(path, "pt") as file:
        config = json.loads(file.metadata()["config"])
    assert config["system"] == "histogram"
    before = path.read_bytes()
    models.save(marscf.load(run), RunConfig.from_json(config), path)
    assert path.read_bytes() == before


def test_missing(tmp_path):
    with pytest.raises(CheckpointError, match=r"no weights at .*; train them with: marscf train"):
        marscf.load(tmp_path / "data/runs/quick/digits/glow/seed0")


@pytest.mark.parametrize("damage", [lambda b: b[:100], lambda b: b[:-1], lambda b: b"", lambda b: b"x" * 900])
def test_damaged(run, damage):
    path = run / "weights.safetensors"
    path.write_bytes(damage(path.read_bytes()))
    with pytest.raises(CheckpointError, match=r"damaged .*; delete it and train again"):
        marscf.load(run)


def test_without_a_config(run):
    safetensors.torch.save_file({"a": torch.zeros(1)}, run / "weights.safetensors")
    with pytest.raises(CheckpointError, match="damaged"):
        marscf.load(run)


def test_of_another_run(run):
    other = run.parents[1] / "glow/seed0"
    shutil.copytree(run, other)
    with pytest.raises(CheckpointError, match="belongs to another config"):
        marscf.load(other)
    marscf.load(other / "weights.safetensors")  # asked for by name: its own config counts


def test_of_a_config_that_changed_since(run):
    config = resolve(load_config(), "quick", "digits", "histogram", 0)
    changed = replace(config, training=replace(config.training, learning_rate=0.5))
    write_json(run / "config.json", changed.to_json())
    with pytest.raises(CheckpointError, match=r"training\.learning_rate: .*, now 0\.5\); run: marscf train"):
        marscf.load(run)


def test_carried_away_from_config(run, tmp_path_factory, monkeypatch):
    elsewhere = tmp_path_factory.mktemp("elsewhere")
    shutil.copytree(run, elsewhere / RUN)
    monkeypatch.chdir(elsewhere)
    loading._load.cache_clear()
    marscf.load(RUN)
    loading._load.cache_clear()


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (lambda w: w.popitem(), "no weights for"),
        (lambda w: w.update(extra=torch.zeros(1)), "unknown weights 'extra'"),
        (lambda w: w.update({k: v[..., :1].contiguous() for k, v in w.items()}), "has shape"),
    ],
)
def test_that_do_not_fit_the_model(run, change, words):
    path = run / "weights.safetensors"
    with safetensors.safe_open(path, "pt") as file:
        metadata = file.metadata()
    weights = safetensors.torch.load_file(path)
    change(weights)
    safetensors.torch.save_file(weights, path, metadata)
    with pytest.raises(CheckpointError, match=words):
        marscf.load(run)


def test_unknmy_histograms(workplace):
    config = resolve(load_config(), "quick", "digits", "histogram", 0)
    with pytest.raises(
        ConfigError, match=r"no module 'histogramm' in marscf\.models; did you mean 'histogram'"
    ):
        models.build(replace(config, model="histogramm.PixelHistogram"))
    with pytest.raises(ConfigError, match=r"no class 'Nothing' in .*histogram.py"):
        models.build(replace(config, model="histogram.Nothing"))


#: Classes and functions that would do something when called, and modules that do when imported.
HOSTILE = ["subprocess.Popen", "os.system", "pathlib.Path", "antigravity.fly", "this.s", "torch.nn.Linear"]
WITHIN = ["base.Tensor", "base.torch", "__init__.Path", "histogram.np", "multiscale_flow.nn"]
NO_NAMES = ["/tmp/x.Y", "..x.Y", "a/b.C", "", "Popen", "__main__.X", "a b.C"]


@pytest.mark.parametrize("model", HOSTILE + WITHIN + NO_NAMES)
def test_a_file_cannot_name_a_class_that_is_no_knmy_histogram(run, model):
    """Neither a header nor a run's own config runs code: nothing is imported, nothing called."""
    import sys

    before = set(sys.modules)
    config = resolve(load_config(), "quick", "digits", "histogram", 0).to_json()
    hostile = {**config, "model": model, "options": {"args": "touch ran", "shell": True}}
    header = {"config": json.dumps(hostile)}
    safetensors.torch.save_file({"w": torch.zeros(1)}, run / "weights.safetensors", header)
    for path in (run, run / "weights.safetensors"):
        with pytest.raises(MarscfError, match="model") as raised:
            write_json(run / "config.json", hostile)
            models.load(path)
        assert "\n" not in str(raised.value)
    assert not {"antigravity", "this"} & (set(sys.modules) - before)


def test_an_my_histogram_is_one_that_the_user_names(run, tmp_path, monkeypatch):
    (tmp_path / "my_histogram.py").write_text(
        "from marscf.models.histogram import PixelHistogram\n\n\nclass Own(PixelHistogram):\n"
        "    def __init__(self, shape, grey_levels, *, smoothing: float = 0.5):\n"
        "        super().__init__(shape, grey_levels, smoothing=smoothing)\n"
    )
    monkeypatch.syspath_prepend(tmp_path)
    config = resolve(load_config(), "quick", "digits", "histogram", 0)
    own = replace(config, model="my_histogram.Own", options={"smoothing": 1.0})
    with pytest.raises(ConfigError, match=r"if you trust its code, set MARSCF_MODELS=my_histogram.Own"):
        models.build(own)
    path = tmp_path / "own.safetensors"
    models.save(models.build(own, allow=["my_histogram.Own"]), own, path)
    assert type(marscf.load(path, allow=["my_histogram.Own"])).__name__ == "Own"
    monkeypatch.setenv("MARSCF_MODELS", "x.Y, my_histogram.Own")
    assert type(marscf.load(path)).__name__ == "Own"


@pytest.mark.parametrize("name", ["receipt.json", "finished.json"])
def test_weights_are_those_of_the_receipt(run, name):
    path = run / "weights.safetensors"
    write_json(run / name, {"weights_sha256": sha256_file(path)})
    marscf.load(run)
    content = bytearray(path.read_bytes())
    content[-3] ^= 1  # a number that is a little different
    path.write_bytes(content)
    with pytest.raises(
        CheckpointError, match=r"not the file that the run.s receipt tells of .*run: marscf train"
    ):
        marscf.load(run)
