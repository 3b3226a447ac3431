"""N steps, kill -9, N steps are 2N steps, bit for bit; tests/campaigns kills systems as large as they are."""

import signal

import pytest
import workers
from comparing import assert_same
from killing import MOMENTS, kill_at_random_moments, run

from marscf.config import load_config, option_schema
from marscf.files import sha256_file
from marscf.models import WEIGHTS, model_class
from marscf.runs import run_config


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
