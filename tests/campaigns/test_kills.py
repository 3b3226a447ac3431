"""Trainings and evaluations killed by SIGKILL at random moments end as if never killed, and leave nothing."""

import os
import random
import shutil
import signal
import time
from pathlib import Path

import pytest
from counts import count, found
from killing import kill_at_random_moments
from measured_place import RUNS, call, ended, forked

from marscf.config import load_config, resolve

CONFIG = load_config(Path(__file__).parents[2] / "config")
TRAINED = sorted(name for name in CONFIG.systems if name != "histogram")
CACHE = Path("data/fidelity-cache")


@pytest.mark.parametrize("name", TRAINED)
def test_trainings_of_every_system(processes, uninterrupted, place, name):
    """As large as at scale `quick`. One kill of three comes while a state is saved."""
    config = resolve(CONFIG, "quick", "digits", name, 0)
    training = {"steps": 16, "batch_size": 8, "checkpoint_every": 2, "validate_every": 8}
    started = time.monotonic()
    reference, again = uninterrupted(
        name, CONFIG.systems[name], dict(config.options), **{**vars(config.training), **training}
    )
    most = 0.7 * (time.monotonic() - started)
    kills = count(2, 34)
    savings = max(1, kills // 3)
    kill_at_random_moments(
        processes, reference, again, place, seconds=[most] * (kills - savings), savings=savings, seed=1
    )
    found(f"{kills} kills of trainings of {name}: all equal, nothing left behind")


@pytest.mark.parametrize(("measure", "run"), [("likelihood", RUNS[4]), ("fidelity", RUNS[2])])
def test_evaluations(measured, measure, run, tmp_path):
    def start():
        return forked(lambda: call("evaluate", measure, run), tmp_path / "said")

    folder, dice, kills = Path(run), random.Random(measure), count(2, 20)
    results = [folder / f"{measure}.json", folder / "likelihood.npz"]

    def content():
        return [path.read_bytes() for path in results], sorted(files(folder)), sorted(files(CACHE))

    def anew():
        shutil.rmtree(CACHE)
        (folder / f"{measure}.json").unlink()

    anew()
    started = time.monotonic()
    assert ended(start()) == 0
    seconds, expected = time.monotonic() - started, content()
    anew()
    killed = 0
    while killed < kills:
        number = start()
        time.sleep(dice.uniform(0, seconds))
        os.kill(number, signal.SIGKILL)
        if (code := ended(number)) == -signal.SIGKILL:
            killed += 1
        else:
            assert code == 0 and content() == expected
            anew()
    assert ended(start()) == 0, (tmp_path / "said").read_text()
    assert content() == expected
    found(f"{kills} kills of evaluations of {measure}: the same bytes, nothing left")


def files(folder):
    """All files below a folder."""
    return {path.relative_to(folder) for path in folder.rglob("*") if path.is_file()}
