"""A run's path says what it is; its config comes from itself or from `config/`."""

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
    assert run_config(run.path)["system"] == "glow"
    write_json(workplace / run.path / "config.json", {"system": "carried"})
    assert run_config(run.path) == {"system": "carried"}
    (workplace / run.path / "config.json").write_text("{")
    with pytest.raises(MarscfError, match=r"cannot read .*config\.json"):
        run_config(run.path)


def test_hash_and_difference():
    config = {"training": {"learning_rate": 0.1}, "seed": 0}
    changed = {"training": {"learning_rate": 0.2}, "seed": 0}
    assert config_hash(config) == config_hash(dict(reversed(config.items())))
    assert len(config_hash(config)) == 16
    assert config_hash(config) != config_hash(changed)
    assert difference(config, changed) == "training.learning_rate: 0.1, now 0.2"
    assert difference({}, {"new": 1}) == "new: None, now 1"
