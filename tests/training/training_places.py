"""Fixtures: a working directory with prepared digits, runs in it, and processes that can be killed."""

import multiprocessing
import shutil
from pathlib import Path

import pytest
import workers
from killing import run

from marscf.config import load_config
from marscf.files import seed_from, write_json
from marscf.runs import CONFIG, Run
from marscf.settings import DataSettings, RunConfig, TrainingSettings


@pytest.fixture(scope="session")
def prepared(tmp_path_factory) -> Path:
    """The digits, prepared once, as `data/datasets`."""
    from marscf.data.prepare import prepare

    root = tmp_path_factory.mktemp("datasets")
    config = load_config(Path(__file__).resolve().parents[2] / "config")
    prepare(config.dataset("digits"), root=root)
    return root


@pytest.fixture
def place(workplace, prepared) -> Path:
    """A working directory with `config/` and its own copy of the digits."""
    shutil.copytree(prepared, workplace / "data/datasets")
    return workplace


@pytest.fixture
def make_run(place):
    """Make a run of the tiny model (or of `system`) with a config of its own; returns its folder."""

    def make(name="tiny", system=None, options=None, **training) -> Path:
        run = Run("quick", "digits", name, 0)
        settings = {
            "steps": 12,
            "batch_size": 16,
            "learning_rate": 0.01,
            "warmup_images": 64,
            "average_decay": 0.9,
            "validate_every": 4,
            "validation_images": 40,
            "checkpoint_every": 3,
            **training,
        }
        config = RunConfig(
            **vars(run),
            seed_value=seed_from(*vars(run).values()),
            model="tiny_model.Tiny" if system is None else system.model,
            options=options or {},
            training=TrainingSettings(**settings),
            data=DataSettings(shape=(1, 8, 8), grey_levels=17, dims=64, augment="none"),
        )
        write_json(run.path / CONFIG, config.to_json())
        return run.path

    return make


@pytest.fixture(scope="session")
def processes():
    """Start processes that have torch imported already (one thread each), to be killed at will."""
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload(["workers"])
    with pytest.MonkeyPatch.context() as patch:  # for the server, which is started by the first process
        patch.setenv("OMP_NUM_THREADS", "1")
        patch.setenv("PYTHONPATH", workers.PYTHONPATH)
        warm = context.Process(target=workers.nothing)
        warm.start()
        warm.join()
    return context


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
