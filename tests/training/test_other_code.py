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


def begun(folder):
    """Begin the training of a run, and stop it when it is at its first step."""
    stop = Stop()
    stop.reason = "a test"
    with pytest.raises(Interrupted):
        train_run(folder, "cpu", stop, again=True)


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
    assert not (edited / CODE).exists()


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
