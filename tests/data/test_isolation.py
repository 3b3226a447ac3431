"""Test images are for measurements alone, and nothing trains on altered ones."""

import ast
import json
import subprocess
import sys
from pathlib import Path

import pytest
import yaml

REPOSITORY = Path(__file__).resolve().parents[2]

MEASURING = ("marscf/evaluation/", "marscf/studies/", "marscf/reporting/guards.py")

# Runs a command and lists what it opened below data/datasets.
SPY = """
import json, sys
opened = set()
sys.addaudithook(lambda event, args: opened.add(str(args[0])) if event == "open" else None)
from marscf.cli import main
code = main(sys.argv[1:])
print(json.dumps([code, sorted(path for path in opened if "datasets/digits" in path)]))
"""


def spied(*arguments):
    done = subprocess.run([sys.executable, "-c", SPY, *arguments], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    return *json.loads(done.stdout.splitlines()[-1]), done.stderr


@pytest.fixture
def small(workplace):
    """A working directory with digits prepared and a Glow of one step, trained twice."""
    for kind in ("datasets", "scales", "systems"):
        (workplace / "own" / kind).mkdir(parents=True)
    for name in ("scales/quick", "systems/glow", "systems/histogram", "datasets/digits"):
        value = yaml.safe_load((REPOSITORY / "config" / f"{name}.yaml").read_text())
        if name == "systems/glow":
            tiny = {"levels": 1, "steps": 1, "channels": 4}
            value["scales"] = {"quick": {"options": tiny, "training": {"steps": 2, "batch_size": 4}}}
        if name.startswith("scales"):
            value["figures"] = value["studies"] = {}
        if name.startswith("systems"):
            value["scales"] = {"quick": value.get("scales", {}).get("quick", {})}
        (workplace / "own" / f"{name}.yaml").write_text(yaml.safe_dump(value))
    (workplace / "config").unlink()
    (workplace / "own").rename(workplace / "config")
    code, _, error = spied("data", "digits", "--offline")
    assert code == 0, error
    return workplace


@pytest.mark.parametrize("system", ["glow", "histogram"])
def test_training_never_opens_the_test_images(small, system):
    code, opened, error = spied("train", f"data/runs/quick/digits/{system}/seed0", "--device", "cpu")
    assert code == 0, error
    assert any(path.endswith("train.npy") for path in opened), opened  # the spy does see
    assert not [path for path in opened if "test" in path.rpartition("/")[2]]


def test_nothing_trains_on_an_altered_array(small):
    path = small / "data" / "datasets" / "digits" / "train.npy"
    content = bytearray(path.read_bytes())
    content[5000] ^= 1
    path.write_bytes(content)
    code, _, error = spied("train", "data/runs/quick/digits/glow/seed0", "--device", "cpu")
    assert code == 2 and "data/datasets/digits/train.npy is not what was prepared" in error
    assert not list(small.glob("data/runs/**/*.safetensors"))


def test_only_what_measures_names_the_test_split():
    named = set()
    for path in sorted((REPOSITORY / "marscf").rglob("*.py")):
        for node in ast.walk(ast.parse(path.read_text())):
            called = isinstance(node, ast.Call) and getattr(node.func, "id", getattr(node.func, "attr", ""))
            if called in ("open_split", "open_labels"):
                values = [value for argument in [*node.args, *node.keywords] for value in ast.walk(argument)]
                constants = [value.value for value in values if isinstance(value, ast.Constant)]
                if "train" not in constants and "val" not in constants:  # "test", or not known before it runs
                    named.add(path.relative_to(REPOSITORY).as_posix())
    named -= {"marscf/data/prepare.py"}  # which makes the splits
    assert named and all(path.startswith(MEASURING) for path in named), named
