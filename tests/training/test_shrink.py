"""Weights in half the space: the same numbers within a thousandth, or nothing is changed."""

import pytest
import torch
from safetensors.torch import load_file

import marscf
from marscf.cli import main
from marscf.config import load_config
from marscf.errors import MarscfError
from marscf.files import read_json, sha256_file
from marscf.training import shrink as module
from marscf.training.run import train_run
from marscf.training.shrink import ROUND_FROM, shrink

OPTIONS = {"levels": 2, "steps": 1, "channels": 64, "lstm_channels": 4, "lstm_layers": 1}


@pytest.fixture
def trained(make_run):
    folder = make_run("glow", load_config().system("glow"), OPTIONS, steps=8)
    train_run(folder, "cpu")
    return folder


def test_large_tensors_are_rounded_and_the_receipt_says_what_that_changed(trained, capsys):
    before, weights = marscf.load(trained), trained / "weights.safetensors"
    size = weights.stat().st_size
    assert main(["shrink", str(trained), "--device", "cpu", "--images", "40"]) == 0
    assert "validation images" in capsys.readouterr().out
    assert weights.stat().st_size < 0.8 * size
    for name, tensor in load_file(weights).items():
        whole = before.state_dict()[name]
        half = whole.dtype == torch.float32 and whole.numel() >= ROUND_FROM
        assert tensor.dtype == (torch.float16 if half else whole.dtype)
        torch.testing.assert_close(tensor.to(whole.dtype), whole, rtol=1e-3, atol=1e-6)
    receipt = read_json(trained / "receipt.json")
    assert receipt == read_json(trained / "finished.json")
    assert receipt["weights_sha256"] == sha256_file(weights)
    assert "float16" in receipt["stored"] and "40 validation images" in receipt["stored"]
    assert marscf.load(trained).state_dict().keys() == before.state_dict().keys()


def test_a_second_time_changes_nothing_and_training_is_still_finished(trained):
    shrink(trained, "cpu", 40)
    kept = (trained / "weights.safetensors").read_bytes()
    assert "nothing to do" in shrink(trained, "cpu", 40)
    assert train_run(trained, "cpu")["stored"]
    assert (trained / "weights.safetensors").read_bytes() == kept


def test_a_run_that_would_change_too_much_is_left_as_it_is(trained, monkeypatch):
    files = {path.name: path.read_bytes() for path in trained.iterdir() if path.is_file()}
    monkeypatch.setattr(module, "ROUND_FROM", 0)
    monkeypatch.setattr(module, "LARGEST_CHANGE", 1e-12)
    with pytest.raises(MarscfError, match="left as it is"):
        shrink(trained, "cpu", 40)
    assert {path.name: path.read_bytes() for path in trained.iterdir() if path.is_file()} == files


def test_a_run_that_is_not_finished_is_named(make_run):
    with pytest.raises(MarscfError, match="not finished; train it first"):
        shrink(make_run("glow", load_config().system("glow"), OPTIONS), "cpu")
