"""N steps, kill -9, N steps are 2N steps, bit for bit."""

import os
import random
import shutil
import signal

import pytest
import workers
from comparing import assert_same

from marscf.config import load_config, option_schema
from marscf.files import sha256_file
from marscf.models import WEIGHTS, model_class
from marscf.runs import run_config


def run(processes, folder, where, **options):
    process = processes.Process(target=workers.train, args=(str(folder), str(where)), kwargs=options)
    process.start()
    process.join(60)
    if process.exitcode is None:
        process.kill()
    return process.exitcode


@pytest.fixture
def uninterrupted(processes, make_run, place):
    """A run trained in one go, and the way to begin the same run again."""

    def make(**training):
        folder = make_run(**training)
        assert run(processes, folder, place) == 0
        reference = place / "reference"
        folder.rename(reference)
        return reference, lambda: make_run(**training)

    return make


@pytest.mark.parametrize("moment", ["written", "renamed", "saved"])
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


def test_killed_at_twenty_random_moments(processes, uninterrupted, place):
    seed = int.from_bytes(os.urandom(4), "big")
    draw = random.Random(seed)
    reference, again = uninterrupted(steps=150, checkpoint_every=2, validate_every=10)
    kills = finished = 0
    folder = again()
    while kills < 20 or not finished:
        process = processes.Process(target=workers.train, args=(str(folder), str(place)))
        process.start()
        process.join(draw.uniform(0.02, 0.6) if kills < 20 else 120)
        if process.exitcode is None:
            process.kill()
            process.join()
            kills += 1
        elif process.exitcode == 0:
            finished += 1
            assert_same(folder, reference), seed
            shutil.rmtree(folder)
            folder = again()
        else:
            pytest.fail(f"exit code {process.exitcode}, seed {seed}")


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
    if not hasattr(model_class(run_config(folder)), "fit"):
        for moment in ("saved", "written", "renamed"):
            assert run(processes, folder, place, kill_at=(moment, 1)) == -signal.SIGKILL
        assert run(processes, folder, place) == 0
        assert_same(folder, place / "reference")
    else:  # in closed form: nothing to interrupt
        assert run(processes, folder, place) == 0
        assert sha256_file(folder / WEIGHTS) == sha256_file(place / "reference" / WEIGHTS)
