"""`marscf check` fails on each planted error, and passes honest changes.

The runs are the reference's own of scale quick, from the remote in the repository. An error stays in the code
while a run is measured, collected and checked again.
"""

import shutil
from pathlib import Path

import pytest
import torch
from planted import FIDELITY, LIKELIHOOD, TRAINING

from marscf import cli
from marscf.kernels.cached import forget

pytestmark = pytest.mark.long
REPOSITORY = Path(__file__).parents[2]
FOLDER = Path("data/runs/quick/digits")
SYSTEMS = ("glow", "flowpp", "histogram")


@pytest.fixture(scope="module")
def shipped(tmp_path_factory) -> Path:
    """The reference's runs of some systems, as a clone pulls them, beside the prepared digits."""
    from dvc.api import DVCFileSystem

    root = tmp_path_factory.mktemp("shipped")
    remote = DVCFileSystem(str(REPOSITORY), remote="reference")
    folders = [*(FOLDER / system for system in SYSTEMS), Path("data/extractors/digits-net/digits")]
    for place in folders:
        (root / place.parent).mkdir(parents=True, exist_ok=True)
        remote.get(str(place), str(root / place), recursive=True)
    remote.get(str(FOLDER / "floor.json"), str(root / FOLDER / "floor.json"))
    for name in ("config", "reports/reference/quick"):
        shutil.copytree(REPOSITORY / name, root / name)
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(root)
        assert cli.main(["data", "digits"]) == 0
    return root


@pytest.fixture(autouse=True)
def checkout(shipped, tmp_path, monkeypatch) -> None:
    """A copy of it, as the working directory."""
    shutil.copytree(shipped, tmp_path, dirs_exist_ok=True)
    monkeypatch.chdir(tmp_path)


def call(*words: object) -> int:
    forget()  # what was derived from weights
    return cli.main([*map(str, words)])


def measured(measure: str, system: str, *more: str) -> int:
    return call("evaluate", measure, FOLDER / system / "seed0", "--device", "cpu", *more)


def checked(system: str) -> int:
    """Collect the runs of a system, and check them."""
    runs = [path.parent for path in sorted(FOLDER.glob(f"{system}/seed*/receipt.json"))]
    collected = call("report", "collect", "--scale", "quick", "--runs", *runs)
    return collected or call("check", "--scale", "quick", "--systems", system)


@pytest.mark.parametrize("name", LIKELIHOOD)
def test_an_error_in_a_likelihood_fails(name, monkeypatch):
    system, plant = LIKELIHOOD[name]
    plant(monkeypatch)
    assert measured("likelihood", system) or checked(system)


@pytest.mark.parametrize("name", FIDELITY)
def test_an_error_in_a_fidelity_fails(name, monkeypatch):
    FIDELITY[name](monkeypatch)
    assert measured("fidelity", "glow") or checked("glow")


@pytest.mark.parametrize("name", TRAINING)
def test_an_error_in_a_training_fails(name, monkeypatch):
    system, plant = TRAINING[name]
    plant(monkeypatch)
    path = FOLDER / system / "seed0"
    shutil.rmtree(path)
    assert call("train", path, "--device", "cpu") or measured("likelihood", system) or checked(system)


def both(system: str, *more: str) -> int:
    return measured("likelihood", system, *more) or measured("fidelity", system, *more)


HONEST = {
    "nothing": lambda: 0,
    "measured again": lambda: both("glow"),
    "another batch size": lambda: measured("likelihood", "glow", "--batch-size", "37"),
    "another seed of the noise": lambda: both("glow", "--seed", "7", "--report"),
    "and of Flow++'s": lambda: both("flowpp", "--seed", "3", "--report"),
    "two threads": lambda: torch.set_num_threads(2) or both("glow"),
    "weights in float16": lambda: call("shrink", FOLDER / "glow" / "seed0") or both("glow"),
    "fitted again": lambda: (
        call("train", FOLDER / "histogram" / "seed0", "--again", "--device", "cpu") or both("histogram")
    ),
    "another trial beside it": lambda: measured("likelihood", "glow", "--draws", "1", "--images", "5"),
    "a title": lambda: (
        Path("config/systems/glow.yaml").write_text(
            Path("config/systems/glow.yaml").read_text().replace("title: Glow", "title: The Glow")
        )
        * 0
    ),
}


@pytest.mark.parametrize("name", HONEST)
def test_an_honest_change_passes(name):
    threads = torch.get_num_threads()
    try:
        assert HONEST[name]() == 0
    finally:
        torch.set_num_threads(threads)
    assert [checked(system) for system in SYSTEMS] == [0, 0, 0]
