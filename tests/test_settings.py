"""A run's config: its JSON form, what it fills in, and the identity of runs made before."""

import json
import subprocess
import sys
from dataclasses import FrozenInstanceError, replace

import pytest

from marscf.errors import ConfigError
from marscf.files import write_json
from marscf.runs import config_hash, identity
from marscf.settings import RunConfig

#: As a run of an earlier version wrote it.
WRITTEN = (
    '{"scale": "quick", "dataset": "digits", "system": "pixelcnn", "seed": 0, "seed_value": 1598310477, '
    '"model": "elsewhere.Model", "options": {"width": 8, "kind": "a", "sizes": [1, 2]}, "training": '
    '{"steps": 1500, "batch_size": 256, "augment": null, "optimizer": "adamax", "betas": [0.9, 0.999], '
    '"learning_rate": 0.0015, "warmup_images": 20000, "decay": "cosine", "weight_decay": 0.0, '
    '"gradient_clip": 100.0, "gradient_clip_unit": "nats/dim", "average_decay": 0.999, '
    '"validate_every": 100, "validation_images": 2000, "checkpoint_every": 1000000000, "accumulate": 1, '
    '"activation_checkpointing": false, "precision": "bfloat16", "compile": true, "max_skips": 10, '
    '"max_rollbacks": 3}, "data": {"shape": [1, 32, 32], "grey_levels": 256, "dims": 1024, '
    '"augment": "none"}}'
)
HASH = "e9849fd487290144"
CONFIG = RunConfig.from_json(json.loads(WRITTEN))


def test_the_json_form_is_the_one_of_runs_made_before():
    assert json.dumps(CONFIG.to_json()) == WRITTEN
    assert config_hash(CONFIG) == HASH
    assert CONFIG.training.betas == (0.9, 0.999) and CONFIG.data.shape == (1, 32, 32)


def test_what_is_not_named_has_its_default(tmp_path):
    older = json.loads(WRITTEN)
    for name in ("optimizer", "betas", "gradient_clip_unit"):
        del older["training"][name]
    assert RunConfig.from_json(older) == CONFIG
    assert RunConfig.from_json({**older, "training": {}}).training.steps == 1000
    own = {**older, "model": "pixelcnn.PixelCNN", "options": {}}
    assert RunConfig.from_json(own).options["channels"] > 0
    write_json(tmp_path / "receipt.json", {"config": older, "config_hash": "of older"})
    assert identity(tmp_path, CONFIG) == "of older"
    assert identity(tmp_path, replace(CONFIG, seed=1)) == config_hash(replace(CONFIG, seed=1))


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"training": {"stepz": 1}}, r"here: training: unknown key 'stepz'; did you mean 'steps'"),
        ({"sceed": 1}, "here: unknown key 'sceed'; did you mean 'seed'"),
        ({"data": {"shape": [1, 8, 8]}}, "here: data: there is no 'grey_levels'"),
        ({"options": [1]}, r"here: options: \[1\] is no table of names and values"),
    ],
)
def test_what_cannot_be_read(changes, words):
    with pytest.raises(ConfigError, match=words):
        RunConfig.from_json({**json.loads(WRITTEN), **changes}, "here")


def test_nothing_can_be_changed():
    with pytest.raises(FrozenInstanceError):
        CONFIG.seed = 1
    with pytest.raises(TypeError):
        CONFIG.options["width"] = 9


def test_it_needs_neither_pydantic_nor_yaml_nor_torch():
    code = (
        "import sys, marscf.runs; sys.exit(bool({'pydantic', 'yaml', 'torch', 'numpy'} & sys.modules.keys()))"
    )
    assert subprocess.run([sys.executable, "-c", code]).returncode == 0
