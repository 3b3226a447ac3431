"""A run whose model, or whose training, has other code now than when it was trained."""

import json
import shutil
import sys
from pathlib import Path

import pytest

from marscf import code
from marscf.errors import Interrupted
from marscf.files import read_json, write_json
from marscf.runs import FINISHED, RECEIPT, other_code
from marscf.training.interrupt import Stop
from marscf.training.run import CODE, train_run

MODEL = Path(__file__).with_name("tiny_model.py")


def forget() -> None:
    """Forget the files that were read: another process would not know them."""
    sys.modules.pop("edited_model", None)
    for function in (code.behind, code._needs, code._read, code._top):
        function.cache_clear()


@pytest.fixture
def edited(place, make_run, monkeypatch):
    """A finished run of a model that was edited since."""
    shutil.copy(MODEL, place / "edited_model.py")
    monkeypatch.syspath_prepend(place)
    forget()
    folder = make_run()
    config = read_json(folder / "config.json")
    write_json(folder / "config.json", {**config, "model": "edited_model.Tiny"})
    monkeypatch.setenv("MARSCF_MODELS", "edited_model.Tiny")
    receipt = train_run(folder, "cpu")
    assert receipt["code"] == code.behind("train", "edited_model.Tiny")
    assert other_code(folder, "edited_model.Tiny") is None
    with (place / "edited_model.py").open("a", encoding="utf-8") as stream:
        stream.write("\nX = 1\n")
    forget()
    return folder


def test_a_finished_run_says_so_and_stays(edited, capsys):
    receipt = read_json(edited / RECEIPT)
    assert train_run(edited, "cpu") == receipt
    assert f"other code than there is now; marscf train {edited} --again" in capsys.readouterr().err


def test_again_trains_anew_and_keeps_the_old_until_it_is_done(edited, capsys):
    old = {name: (edited / name).read_bytes() for name in (RECEIPT, FINISHED, "weights.safetensors")}
    stop = Stop()
    stop.reason = "a test"
    with pytest.raises(Interrupted):
        train_run(edited, "cpu", stop, again=True)
    aside = edited / "superseded/finished"
    assert {name: (aside / name).read_bytes() for name in old} == old
    assert f"kept in {aside} until then" in capsys.readouterr().err
    receipt = train_run(edited, "cpu", again=True)  # which goes on
    assert receipt["code"] == code.behind("train", "edited_model.Tiny")
    assert receipt["code"] != json.loads(old[RECEIPT])["code"]
    assert receipt["weights_sha256"] == json.loads(old[RECEIPT])["weights_sha256"]
    assert not aside.exists() and other_code(edited, "edited_model.Tiny") is None


class StopSoon(Stop):
    """It asks to stop when it was asked so often."""

    times = 3

    def requested(self) -> bool:
        self.times -= 1
        self.reason = None if self.times > 0 else "a test"
        return super().requested()


def begun(folder):
    """Begin the training of a run, and stop it after a few steps."""
    with pytest.raises(Interrupted):
        train_run(folder, "cpu", StopSoon(), again=True)
    assert list(folder.glob("state-*.pt"))


def test_a_training_that_other_code_began_never_counts_as_trained_by_the_code_of_now(edited, place, capsys):
    begun(edited)
    first = code.behind("train", "edited_model.Tiny")
    with (place / "edited_model.py").open("a", encoding="utf-8") as stream:
        stream.write("\nY = 1\n")
    forget()
    receipt = train_run(edited, "cpu")
    assert "was begun with other code" in capsys.readouterr().err
    assert receipt["code"] == f"{first}+{code.behind('train', 'edited_model.Tiny')}"
    assert f"marscf train {edited} --again" in other_code(edited, "edited_model.Tiny")
    (codes,) = read_json(edited / CODE).values()  # as long as its states are there
    assert "+".join(codes) == receipt["code"]


def test_a_training_of_another_config_does_not_go_on_with_what_trained_the_one_before(edited, capsys):
    train_run(edited, "cpu", again=True)
    now = code.behind("train", "edited_model.Tiny")
    config = read_json(edited / "config.json")
    config["training"]["steps"] += 1
    write_json(edited / "config.json", config)
    for name in (None, "weights.safetensors"):
        if name:
            (edited / name).unlink()
        assert train_run(edited, "cpu")["code"] == now
    assert list(read_json(edited / CODE).values()) == [[now]]
    assert "other code" not in capsys.readouterr().err


def test_again_after_another_edit_begins_anew_and_keeps_the_finished_run(edited, place, capsys):
    old = (edited / RECEIPT).read_bytes()
    begun(edited)
    with (place / "edited_model.py").open("a", encoding="utf-8") as stream:
        stream.write("\nY = 1\n")
    forget()
    begun(edited)
    assert (edited / "superseded/finished" / RECEIPT).read_bytes() == old
    receipt = train_run(edited, "cpu", again=True)
    assert receipt["code"] == code.behind("train", "edited_model.Tiny")
    assert receipt["weights_sha256"] == json.loads(old)["weights_sha256"]
    assert not (edited / "superseded").exists() and other_code(edited, "edited_model.Tiny") is None


def test_again_begins_an_unfinished_training_anew(edited, place, capsys):
    begun(edited)
    shutil.rmtree(edited / "superseded")  # as if it had not been begun by --again
    with (place / "edited_model.py").open("a", encoding="utf-8") as stream:
        stream.write("\nY = 1\n")
    forget()
    receipt = train_run(edited, "cpu", again=True)
    assert "is trained anew" in capsys.readouterr().err
    assert receipt["code"] == code.behind("train", "edited_model.Tiny")
    assert other_code(edited, "edited_model.Tiny") is None


def test_states_without_a_record_are_of_code_that_is_not_known(edited):
    begun(edited)
    (edited / CODE).unlink()
    receipt = train_run(edited, "cpu")
    assert receipt["code"] == f"unknown+{code.behind('train', 'edited_model.Tiny')}"
    assert other_code(edited, "edited_model.Tiny")


def test_a_receipt_without_it_says_nothing(edited, capsys):
    for name in (RECEIPT, FINISHED):
        receipt = read_json(edited / name)
        del receipt["code"], receipt["digest"]  # as it was before
        write_json(edited / name, receipt)
    train_run(edited, "cpu")
    assert "is finished" in capsys.readouterr().err
