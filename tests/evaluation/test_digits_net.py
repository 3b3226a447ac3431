import json
from pathlib import Path

import numpy as np
import pytest
import torch

from marscf.cli import main
from marscf.errors import CheckpointError
from marscf.evaluation import digits_net
from marscf.evaluation.digits_net import DigitsNet, load_digits_net, three_channels, train_extractor


@pytest.mark.parametrize("side", [8, 28, 32])
def test_any_side_gives_features_and_logits(side):
    net = DigitsNet(side, 10).eval()
    features, logits = net(torch.zeros(2, 3, side, side, dtype=torch.uint8))
    assert features.shape == (2, 64) and logits.shape == (2, 10)


def test_three_channels_stretches_and_repeats():
    images = np.array([0, 8, 16], np.uint8).reshape(3, 1, 1, 1)
    assert three_channels(images, 17).tolist() == [[[[v]]] * 3 for v in (0, 128, 255)]
    colour = np.full((1, 3, 2, 2), 9, np.uint8)
    np.testing.assert_array_equal(three_channels(colour, 256), colour)


def test_command_trains_and_leaves_a_finished_one_alone(prepared, monkeypatch):
    monkeypatch.setitem(digits_net.RECIPE, "epochs", 8)
    assert main(["evaluate", "extractor", "digits", "--device", "cpu"]) == 0
    folder = Path("data/extractors/digits-net/digits")
    receipt = json.loads((folder / "receipt.json").read_text())
    assert receipt["test_accuracy"] > 0.85
    assert receipt["test_images"] == 360
    net, loaded = load_digits_net("digits")
    assert loaded == receipt
    images = np.load("data/datasets/digits/test.npy")
    labels = np.load("data/datasets/digits/test_labels.npy")
    assert digits_net.evaluate(net, images, labels, 17) == receipt["test_accuracy"]
    written = (folder / "weights.safetensors").stat().st_mtime_ns
    assert train_extractor("digits") == receipt
    assert (folder / "weights.safetensors").stat().st_mtime_ns == written


def test_the_same_data_gives_the_same_weights(prepared, monkeypatch):
    monkeypatch.setitem(digits_net.RECIPE, "epochs", 1)
    hashes = []
    for root in ("one", "two"):
        torch.manual_seed(len(hashes))  # what came before must not matter
        hashes.append(train_extractor("digits", root=Path(root))["weights_sha256"])
    assert hashes[0] == hashes[1]
    with pytest.raises(CheckpointError, match="marscf evaluate extractor digits"):
        load_digits_net("digits", root=Path("three"))
    monkeypatch.setitem(digits_net.RECIPE, "epochs", 2)
    with pytest.raises(CheckpointError, match="other data or another recipe"):
        load_digits_net("digits", root=Path("one"))


def test_altered_weights_are_refused(prepared, monkeypatch):
    monkeypatch.setitem(digits_net.RECIPE, "epochs", 1)
    train_extractor("digits", root=Path("x"))
    path = Path("x/digits/weights.safetensors")
    content = bytearray(path.read_bytes())
    content[-1] ^= 1
    path.write_bytes(content)
    with pytest.raises(CheckpointError, match=r"weights\.safetensors is not what"):
        load_digits_net("digits", root=Path("x"))
