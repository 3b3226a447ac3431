"""A run's path says what it is; its config comes from itself or from `config/`."""

from dataclasses import replace

import pytest

from marscf.errors import ConfigError, MarscfError
from marscf.files import write_json
from marscf.runs import Run, config_hash, difference, run_config


def test_paths_and_names():
    run = Run("quick", "digits", "glow", 3)
    assert str(run.path) == "data/runs/quick/digits/glow/seed3"
    assert Run.from_path(run.path) == run
    assert Run.from_path(f"/elsewhere/{run.path}/") == run


@pytest.mark.parametrize("path", ["glow", "data/runs/quick/digits/glow", "a/b/c/seedx", "quick/glow/seed0"])
def test_no_run(path):
    with pytest.raises(ConfigError, match="is no run; a run is data/runs/<scale>/"):
        Run.from_path(path)


def test_a_config_of_its_own_wins(workplace):
    run = Run("quick", "digits", "glow", 0)
    config = run_config(run.path)
    assert config.system == "glow"
    carried = replace(config, system="carried")
    write_json(workplace / run.path / "config.json", carried.to_json())
    assert run_config(run.path) == carried
    assert Run.from_path(run.path).system == "carried"
    (workplace / run.path / "config.json").write_text("{")
    with pytest.raises(MarscfError, match=r"cannot read .*config\.json"):
        run_config(run.path)


def test_hash_and_difference(workplace):
    config = run_config("data/runs/quick/digits/glow/seed0")
    changed = replace(config, training=replace(config.training, learning_rate=0.2))
    reordered = replace(config, options=dict(reversed(config.options.items())))
    assert config_hash(config) == config_hash(reordered)
    assert len(config_hash(config)) == 16
    assert config_hash(config) != config_hash(changed)
    was = config.training.learning_rate
    assert difference(config, changed) == f"training.learning_rate: {was}, now 0.2"
    assert difference({}, {"new": 1}) == "new: None, now 1"
