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
FOLDER = Path("data/runs/quick/digits")
SYSTEMS = ("glow", "flowpp", "histogram")


@pytest.fixture(autouse=True)
def checkout(shipped_copy) -> None:
    """All tests are in a copy of the reference's runs."""


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
