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
from marscf.config import load_config, resolve
from marscf.errors import CheckpointError, ConfigError
from marscf.files import write_json
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
    with pytest.raises(CheckpointError, match=r"training\.learning_rate: .*, now 0\.5\); train again"):
        marscf.load(run)


def test_carried_away_from_config(run, tmp_path_factory, monkeypatch):
    elsewhere = tmp_path_factory.mktemp("elsewhere")
    shutil.copytree(run, elsewhere / RUN)
    monkeypatch.chdir(elsewhere)
    load_config.cache_clear()
    marscf.load(RUN)
    load_config.cache_clear()


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


def test_unknown_models(workplace):
    config = resolve(load_config(), "quick", "digits", "histogram", 0)
    with pytest.raises(
        ConfigError, match=r"no module 'histogramm' in marscf\.models; did you mean 'histogram'"
    ):
        models.build(replace(config, model="histogramm.PixelHistogram"))
    with pytest.raises(ConfigError, match="no class 'Nothing'"):
        models.build(replace(config, model="histogram.Nothing"))
