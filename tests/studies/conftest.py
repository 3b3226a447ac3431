"""A working directory with a small config, real digits, and systems whose density is known."""

import json
from pathlib import Path

import numpy as np
import pytest
import yaml

from marscf.config import loading
from marscf.files import sha256_file

REPOSITORY = Path(__file__).resolve().parents[2]

SCALE = {
    "name": "tiny",
    "description": "for tests",
    "datasets": ["digits"],
    "evaluation": {"fidelity": {"extractor": "none"}},
    "studies": {
        "sampling_speed": {"sides": [16, 8, 32], "channels": 1, "batch_size": 2, "repeats": 3},
        "interpolation": [
            {"dataset": "digits", "system": "two-modes", "pairs": 3, "score_pairs": 8, "points": 5}
            | {"iterations": 15, "batch_size": 9, "validation_pairs": 4, "lambdas": [0.5, 0.2, 0.35]}
        ],
    },
}
SYSTEMS = {"two-modes": "TwoModes", "iterative": "Iterative", "slow": "Slow"}


@pytest.fixture
def place(tmp_path, monkeypatch):
    """The working directory; `place("name", key=value)` changes the scale's study of that name."""
    monkeypatch.chdir(tmp_path)
    for kind in ("scales", "systems", "datasets"):
        Path("config", kind).mkdir(parents=True)
    Path("config/datasets/digits.yaml").symlink_to(REPOSITORY / "config/datasets/digits.yaml")
    for name, model in SYSTEMS.items():
        system = {"name": name, "title": name, "model": f"two_modes.{model}", "cite": "", "options": {}}
        Path(f"config/systems/{name}.yaml").write_text(yaml.safe_dump(system))

    def settings(study=None, **changes):

        scale = json.loads(json.dumps(SCALE))
        section = scale["studies"].get(study, {})
        (section[0] if isinstance(section, list) else section).update(changes)
        Path("config/scales/tiny.yaml").write_text(yaml.safe_dump(scale))
        loading._load.cache_clear()

    settings("sampling_speed", exclude=["slow"])
    yield settings

    loading._load.cache_clear()


@pytest.fixture
def digits(place):
    """Prepared digits in the working directory; returns the test images and their classes."""
    from sklearn.datasets import load_digits

    from marscf.data.arrays import dataset_digest

    bunch = load_digits()
    images, classes = bunch.images.astype(np.uint8)[:, None], bunch.target.astype(np.uint8)
    folder = Path("data/datasets/digits")
    folder.mkdir(parents=True)
    manifest = {"name": "digits", "shape": [1, 8, 8], "grey_levels": 17, "release": None, "splits": {}}
    for split, rows in {"train": slice(200, 300), "val": slice(300, 320), "test": slice(0, 60)}.items():
        entry = manifest["splits"][split] = {"file": f"{split}.npy", "count": len(classes[rows])}
        entry["labels"] = {"file": f"{split}_labels.npy"}
        for array, target in ((images, entry), (classes, entry["labels"])):
            np.save(folder / target["file"], array[rows])
            target["sha256"] = sha256_file(folder / target["file"])
    manifest["digest"] = dataset_digest(manifest)
    (folder / "manifest.json").write_text(json.dumps(manifest))
    return images[:60], classes[:60]


@pytest.fixture
def make_run(place):
    """`make_run(system, parameter=value)` writes a run of the system, as if trained; returns its folder."""
    import torch

    from marscf.config import load_config, resolve
    from marscf.models import WEIGHTS, build, save

    def make(system, **values):
        config = resolve(load_config(), "tiny", "digits", system, 0)
        folder = Path(f"data/runs/tiny/digits/{system}/seed0")
        model = build(config)
        with torch.no_grad():
            for name, value in values.items():
                getattr(model, name).fill_(value)
        save(model, config, folder / WEIGHTS)
        return folder

    return make
