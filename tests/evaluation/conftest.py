"""A tiny density model with a known density, and a run of it in a temporary working directory."""

import json
import math
import os
import shutil
from pathlib import Path

import numpy as np
import pytest
import torch

from marscf.models.base import FlowModel

SHAPE = (1, 8, 8)
LEVELS = 17
BRIEF = 4  # epochs of the tests' digits-net


class GaussianFlow(FlowModel):
    """Independent Gaussians, one a sub-pixel: the affine flow y = mean + exp(log_scale)·z."""

    def __init__(self, shape, grey_levels, *, mean: float = 0.0, log_scale: float = -1.0):
        super().__init__(shape, grey_levels)
        self.mean = torch.nn.Parameter(torch.full(shape, mean))
        self.log_scale = torch.nn.Parameter(torch.full(shape, log_scale))

    @property
    def latent_shapes(self):
        return [self.shape]

    def encode_continuous(self, y):
        return [(y - self.mean) * torch.exp(-self.log_scale)], -self.log_scale.sum().expand(len(y))

    def decode(self, latents):
        return self.mean + latents[0] * torch.exp(self.log_scale)

    def latents_from(self, eps):
        return eps

    def latent_log_prob(self, latents):
        return (-0.5 * latents[0] ** 2 - 0.5 * math.log(2 * math.pi)).sum((1, 2, 3))

    def log_density(self, y):
        latents, log_det = self.encode_continuous(y)
        return self.latent_log_prob(latents) + log_det


@pytest.fixture(scope="session")
def digits():
    """Real digits, uint8 (1797,1,8,8) with 17 grey levels, and their classes."""
    from sklearn.datasets import load_digits

    bunch = load_digits()
    return bunch.images.astype(np.uint8)[:, None], bunch.target.astype(np.uint8)


@pytest.fixture
def model(digits):
    """A Gaussian fitted to the digits."""
    images = torch.from_numpy(digits[0]).float()
    model = GaussianFlow(SHAPE, LEVELS)
    y = (images + 0.5) / LEVELS
    with torch.no_grad():
        model.mean.copy_(y.mean(0))
        model.log_scale.copy_(torch.log(y.std(0) + 0.05))
    return model.eval()


def prepare(root: Path, images: np.ndarray, labels: np.ndarray) -> None:
    """Write a prepared, labelled `digits` of these images under `root`."""
    from marscf.data import arrays
    from marscf.files import sha256_file

    folder = root / "digits"
    folder.mkdir(parents=True, exist_ok=True)
    splits = {}
    for name, rows in {"train": slice(0, 1257), "val": slice(1257, 1437), "test": slice(1437, None)}.items():
        file, label_file = folder / f"{name}.npy", folder / f"{name}_labels.npy"
        np.save(file, images[rows])
        np.save(label_file, labels[rows])
        splits[name] = {
            "file": file.name,
            "count": len(images[rows]),
            "sha256": sha256_file(file),
            "digest": "",
            "labels": {"file": label_file.name, "sha256": sha256_file(label_file)},
        }
    manifest = {"name": "digits", "shape": list(SHAPE), "grey_levels": LEVELS, "release": None}
    manifest["splits"] = splits
    manifest["digest"] = arrays.dataset_digest(manifest)
    (folder / "manifest.json").write_text(json.dumps(manifest))


@pytest.fixture
def prepared(tmp_path, monkeypatch, digits):
    """A working directory with a prepared, labelled `digits`."""
    monkeypatch.chdir(tmp_path)
    for name in ("MARSCF_INCEPTION", "MARSCF_MIRROR"):
        monkeypatch.delenv(name, raising=False)
    prepare(Path("data/datasets"), *digits)
    return tmp_path


@pytest.fixture
def workplace(prepared, monkeypatch, model):
    """The same with one run of a Gaussian; returns the run's path."""
    from marscf import models
    from marscf.settings import RunConfig

    run = Path("data/runs/trial/digits/gaussian/seed0")
    run.mkdir(parents=True)
    config = {
        "scale": "trial",
        "dataset": "digits",
        "system": "gaussian",
        "seed": 0,
        "seed_value": 0,
        "model": "tests.evaluation.conftest.GaussianFlow",
        "options": {},
        "data": {"shape": list(SHAPE), "grey_levels": LEVELS, "dims": 64, "augment": "none"},
    }
    (run / "config.json").write_text(json.dumps(config))
    monkeypatch.setattr(
        models, "build", lambda config, allow=(): GaussianFlow(SHAPE, LEVELS, **config.options)
    )
    models.save(model, RunConfig.from_json(config), run / models.WEIGHTS)
    return run


@pytest.fixture(scope="session")
def trained_extractor(tmp_path_factory, digits):
    """Folder of a digits-net trained on the digits, briefly: enough for features."""
    from marscf.evaluation import digits_net

    here, epochs = Path.cwd(), digits_net.RECIPE["epochs"]
    folder = tmp_path_factory.mktemp("extractor")
    try:
        os.chdir(folder)
        digits_net.RECIPE["epochs"] = BRIEF
        prepare(Path("data/datasets"), *digits)
        digits_net.train_extractor("digits")
    finally:
        digits_net.RECIPE["epochs"] = epochs
        os.chdir(here)
    return folder / digits_net.ROOT


@pytest.fixture
def extractor_at_hand(prepared, trained_extractor, monkeypatch):
    """The working directory with that digits-net where commands look for it."""
    from marscf.evaluation import digits_net

    monkeypatch.setitem(digits_net.RECIPE, "epochs", BRIEF)
    shutil.copytree(trained_extractor, digits_net.ROOT)
    return prepared
