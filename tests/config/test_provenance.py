"""`marscf config RUN`: which file set each value, and the same as JSON."""

import json
import shutil
from pathlib import Path

import pytest
import yaml

from marscf.cli import main
from marscf.config import load_config, loading, provenance, read_yaml, resolve
from marscf.files import write_json

REPOSITORY = Path(__file__).parents[2]
RUN = "data/runs/laptop/mnist/glow/seed0"


@pytest.fixture
def place(tmp_path, monkeypatch):
    """A working directory with a `config/` that may be edited."""
    shutil.copytree(REPOSITORY / "config", tmp_path / "config")
    monkeypatch.chdir(tmp_path)
    loading._load.cache_clear()
    yield tmp_path
    loading._load.cache_clear()


def said_there(source, name):
    """What a source, `file: section.section`, says of `options.x` or `training.x`."""
    file, _, section = source.partition(": ")
    found = read_yaml(file)
    if file.startswith("config/datasets/"):
        return found[name.partition(".")[2]]
    keys = [*section.split("."), *name.split(".")] if section else name.split(".")
    for key in dict.fromkeys(keys):  # a scale's section is itself called training
        found = found[key]
    return found


def test_the_named_place_holds_the_value(place):
    config, checked = load_config(), 0
    for scale in config.scales.values():
        for dataset in scale.datasets:
            for system in [] if scale.published else config.systems:
                run = resolve(config, scale.name, dataset, system, 0)
                values, sources = run.to_json(), provenance(config, run)
                for section in ("options", "training"):
                    for name, value in values[section].items():
                        source = sources.get(f"{section}.{name}", "")
                        if source.endswith(": longer"):
                            liked = resolve(config, scale.like, dataset, system, 0)
                            assert (name, value) == ("steps", scale.longer * liked.training.steps)
                        elif source:
                            assert said_there(source, f"{section}.{name}") == value
                            checked += 1
    assert checked > 500


def shown(capsys):
    assert main(["config", RUN]) == 0
    lines = capsys.readouterr().out.splitlines()
    return {line.split()[0]: line.split(maxsplit=2)[1:] for line in lines if "[" not in line}


def test_each_layer_by_its_name(place, capsys):
    path = place / "config/systems/glow.yaml"
    glow = yaml.safe_load(path.read_text())
    glow["training"] = {"decay": "constant"}
    glow["scales"]["laptop"]["training"] = {"weight_decay": 0.5}
    glow["scales"]["laptop"]["datasets"]["mnist"]["training"] = {"steps": 77}
    path.write_text(yaml.safe_dump(glow))
    found = shown(capsys)
    assert found["system"] == ['"glow"', "the run's path"]
    assert found["training.batch_size"] == ["8", "config/scales/laptop.yaml: training"]
    assert found["training.decay"] == ['"constant"', "config/systems/glow.yaml"]
    assert found["training.weight_decay"] == ["0.5", "config/systems/glow.yaml: scales.laptop"]
    assert found["training.steps"] == ["77", "config/systems/glow.yaml: scales.laptop.datasets.mnist"]
    assert found["options.logit_margin"] == ["1e-06", "config/datasets/mnist.yaml"]
    assert found["training.max_skips"] == ["10", "default of the code"]
    assert found["data.augment"] == ['"none"', "config/datasets/mnist.yaml"]


def test_a_run_s_own_config(place, capsys):
    config = resolve(load_config(), "laptop", "mnist", "glow", 0).to_json()
    del config["training"]["max_skips"]
    write_json(f"{RUN}/config.json", config)
    found = shown(capsys)
    assert found["training.steps"][1] == found["scale"][1] == f"{RUN}/config.json"
    assert found["training.max_skips"] == ["10", "default of the code"]


def test_json_is_what_config_json_holds(place, capsys):
    assert main(["config", "--json", RUN]) == 0
    printed = json.loads(capsys.readouterr().out)
    assert printed == resolve(load_config(), "laptop", "mnist", "glow", 0).to_json()
    write_json(f"{RUN}/config.json", printed)
    assert main(["config", "--json", RUN]) == 0
    assert json.loads(capsys.readouterr().out) == printed
