"""States that are cut short, altered, or of something else are refused by name; the one before is used."""

import random
from dataclasses import replace

import pytest
import torch
from comparing import final_state

from marscf.runs import difference
from marscf.settings import DataSettings, RunConfig, TrainingSettings
from marscf.training.checkpoints import Checkpoints

CONFIG = RunConfig(
    scale="quick",
    dataset="digits",
    system="tiny",
    seed=0,
    seed_value=7,
    model="tiny_model.Tiny",
    options={},
    training=TrainingSettings(learning_rate=0.1),
    data=DataSettings(shape=(1, 8, 8), grey_levels=17, dims=64, augment="none"),
)


@pytest.fixture
def checkpoints(tmp_path):
    checkpoints = Checkpoints(tmp_path, CONFIG, "data")
    for step in (1, 2, 3):
        checkpoints.save(step, {"weights": torch.full((100,), float(step))})
    return checkpoints


def test_two_are_kept_and_load_safely(checkpoints):
    assert sorted(p.name for p in checkpoints.folder.iterdir()) == ["state-00000002.pt", "state-00000003.pt"]
    assert checkpoints.newest()["step"] == 3
    assert checkpoints.newest(before=3)["step"] == 2
    assert torch.equal(final_state(checkpoints.folder)["weights"], torch.full((100,), 3.0))


def test_any_altered_byte_is_noticed(checkpoints):
    path = checkpoints.folder / "state-00000003.pt"
    whole = path.read_bytes()
    for place in [0, len(whole) - 1, *random.Random(0).sample(range(len(whole)), 60)]:
        altered = bytearray(whole)
        altered[place] ^= 1
        path.write_bytes(altered)
        assert checkpoints.newest()["step"] == 2, place
        assert len(checkpoints.refused) == 1
        assert "state-00000003.pt is cut short or altered" in checkpoints.refused[0]


@pytest.mark.parametrize("length", [0, 10, 32, 500, -1])
def test_cut_short(checkpoints, length):
    path = checkpoints.folder / "state-00000003.pt"
    path.write_bytes(path.read_bytes()[:length])
    assert checkpoints.newest()["step"] == 2
    assert "state-00000003.pt is cut short or altered" in checkpoints.refused[0]


def test_another_config_or_other_data(checkpoints):
    folder = checkpoints.folder
    changed = Checkpoints(folder, replace(CONFIG, training=TrainingSettings(learning_rate=0.2)), "data")
    assert changed.newest() is None
    assert "state-00000003.pt belongs to another config" in changed.refused[0]
    assert "training.learning_rate: 0.1, now 0.2" in changed.refused[0]
    changed.save(3, {})
    assert [p.name for p in folder.glob("*.pt")] == ["state-00000003.pt"]
    assert len(list(changed.aside.iterdir())) == 2, "refusing deletes nothing"
    other_data = Checkpoints(folder, CONFIG, "other")
    assert other_data.newest() is None
    assert "belongs to another config" in other_data.refused[0] and len(other_data.refused) == 1

    back = Checkpoints(folder, CONFIG, "data")
    assert torch.equal(back.newest()["weights"], torch.full((100,), 3.0))
    assert [p.name for p in folder.glob("*.pt")] == ["state-00000003.pt"]
    assert len(list(changed.aside.iterdir())) == 2, "the older of its own, and the other training's"
    back.finished()
    assert [p.name for p in folder.iterdir()] == ["state-00000003.pt"]


def test_other_data(checkpoints):
    other_data = Checkpoints(checkpoints.folder, CONFIG, "other")
    assert other_data.newest() is None
    assert "other data" in other_data.refused[0] and len(other_data.refused) == 2


@pytest.mark.parametrize("name", ["checkpoint_every", "max_skips", "max_rollbacks"])
def test_what_makes_no_other_training_makes_none_begin_anew(checkpoints, name):
    again = Checkpoints(
        checkpoints.folder, replace(CONFIG, training=replace(CONFIG.training, **{name: 7})), "data"
    )
    assert again.newest()["step"] == 3 and again.refused == []
    both = replace(again.config, training=replace(again.config.training, learning_rate=0.3))
    assert difference(CONFIG, both) == "training.learning_rate: 0.1, now 0.3"


def test_the_first_save_after_going_on_keeps_the_state_it_came_from(checkpoints):
    again = Checkpoints(checkpoints.folder, CONFIG, "data")
    again.newest()
    again.save(4, {})
    assert sorted(p.name for p in again.folder.iterdir()) == ["state-00000003.pt", "state-00000004.pt"]


def test_discard(checkpoints):
    checkpoints.discard(3)
    assert [p.name for p in checkpoints.folder.iterdir()] == ["state-00000002.pt"]
