"""N steps, kill -9, N steps are 2N steps, bit for bit."""

import os
import random
import shutil
import signal
import time

import pytest
import workers
from comparing import assert_same

from marscf.config import load_config, option_schema, resolve
from marscf.files import sha256_file
from marscf.models import WEIGHTS, model_class
from marscf.runs import run_config


def run(processes, folder, where, **options):
    process = processes.Process(target=workers.train, args=(str(folder), str(where)), kwargs=options)
    process.start()
    process.join(300)
    if process.exitcode is None:
        process.kill()
    return process.exitcode


@pytest.fixture
def uninterrupted(processes, make_run, place):
    """A run trained in one go, and the way to begin the same run again."""

    def make(*which, **training):
        folder = make_run(*which, **training)
        assert run(processes, folder, place) == 0
        reference = place / "reference"
        folder.rename(reference)
        return reference, lambda: make_run(*which, **training)

    return make


MOMENTS = ["written", "renamed", "saved"]


@pytest.mark.parametrize("moment", MOMENTS)
def test_killed_while_saving(processes, uninterrupted, place, moment):
    reference, again = uninterrupted(steps=18)
    folder = again()
    for n in (1, 2, 1, 1):
        assert run(processes, folder, place, kill_at=(moment, n)) == -signal.SIGKILL
        if moment == "written":
            assert list(folder.glob(".state-*")), "the kill left a file half written"
    assert run(processes, folder, place) == 0
    assert_same(folder, reference)
    assert not list(folder.glob(".state-*"))


def kill_at_random_moments(processes, reference, again, place, seconds, savings):
    """Kill the run after up to `seconds[k]`, and at as many random savings of a state as `savings` says.

    Between and after the kills it goes on; whenever it comes to its end, it is as if never killed.
    """
    seed = int.from_bytes(os.urandom(4), "big")
    print(f"seed {seed}")  # shown where the test fails
    draw = random.Random(seed)
    kills = [(draw.uniform(0.02, most), None) for most in seconds]
    kills += [(120, (draw.choice(MOMENTS), draw.randint(1, 2))) for _ in range(savings)]
    draw.shuffle(kills)
    folder, finished = again(), 0
    while kills or not finished:
        wait, kill_at = kills[-1] if kills else (120, None)
        process = processes.Process(
            target=workers.train, args=(str(folder), str(place)), kwargs={"kill_at": kill_at}
        )
        process.start()
        process.join(wait)
        if process.exitcode is None:
            process.kill()
            process.join()
            assert kills, "hangs"
        if process.exitcode == 0:
            finished += 1
            assert_same(folder, reference)
            shutil.rmtree(folder)
            folder = again()
        else:
            assert process.exitcode == -signal.SIGKILL
            kills.pop()


def test_killed_at_twenty_random_moments(processes, uninterrupted, place):
    reference, again = uninterrupted(steps=150, checkpoint_every=2, validate_every=10)
    kill_at_random_moments(processes, reference, again, place, seconds=[0.6] * 20, savings=0)


SMALL = {
    "levels": 2,
    "steps": 1,
    "channels": 8,
    "blocks": 1,
    "components": 2,
    "heads": 2,
    "lstm_channels": 4,
    "head_channels": 8,
}
CONFIG = load_config(workers.REPOSITORY / "config")
TRAINED = sorted(name for name in CONFIG.systems if name != "histogram")


@pytest.mark.parametrize("name", sorted(CONFIG.systems))
def test_every_system(processes, make_run, place, name):
    system = CONFIG.systems[name]
    small = {key: SMALL[key] for key in SMALL.keys() & option_schema(system.model).model_fields.keys()}
    training = {"steps": 6, "batch_size": 8, "checkpoint_every": 2, "validate_every": 3}

    def begin():
        return make_run(name, system, {**system.options, **small}, **training, validation_images=16)

    folder = begin()
    assert run(processes, folder, place) == 0
    folder = folder.rename(place / "reference") and begin()
    if not model_class(run_config(folder).model).closed_form:
        for moment in ("saved", "written", "renamed"):
            assert run(processes, folder, place, kill_at=(moment, 1)) == -signal.SIGKILL
        assert run(processes, folder, place) == 0
        assert_same(folder, place / "reference")
    else:  # in closed form: nothing to interrupt
        assert run(processes, folder, place) == 0
        assert sha256_file(folder / WEIGHTS) == sha256_file(place / "reference" / WEIGHTS)


@pytest.mark.long
@pytest.mark.parametrize("name", TRAINED)
def test_every_system_killed_at_random_moments(processes, uninterrupted, place, name):
    """As large as at scale `quick`: 2 kills of each system at any time, 2 while it saves a state."""
    config = resolve(CONFIG, "quick", "digits", name, 0)
    training = {"steps": 30, "batch_size": 8, "checkpoint_every": 2, "validate_every": 10}
    started = time.monotonic()
    reference, again = uninterrupted(
        name, CONFIG.systems[name], dict(config.options), **{**vars(config.training), **training}
    )
    whole = time.monotonic() - started
    kill_at_random_moments(processes, reference, again, place, seconds=[whole / 2, whole / 2], savings=2)
