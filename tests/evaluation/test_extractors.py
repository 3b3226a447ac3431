import hashlib
import json
import os
import pickle
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch

from marscf.cli import main
from marscf.errors import CheckpointError, ConfigError
from marscf.evaluation import extractors, inception
from marscf.evaluation.digits_net import DigitsNet, three_channels
from marscf.evaluation.extractors import load_extractor
from marscf.evaluation.inception import INCEPTION_FILE, find_inception
from marscf.files import sha256_file


def test_digits_net_in_python(extractor_at_hand, digits):
    extractor = load_extractor("digits-net", "digits", grey_levels=17)
    images, labels = digits[0][:600], digits[1][:600]
    features, logits = extractor(images)
    assert features.shape == (600, 64) and logits.shape == (600, 10) and features.dtype == np.float32
    one_by_one = np.concatenate([extractor(image[None])[0] for image in images[:5]])
    np.testing.assert_allclose(one_by_one, features[:5], rtol=1e-4, atol=1e-5)
    probabilities = extractor.probabilities(images)
    np.testing.assert_allclose(probabilities.sum(1), 1, rtol=1e-12)
    assert (probabilities.argmax(1) == labels).mean() > 0.5
    assert extractor.metric("fid") == "fid[digits-net]"
    with pytest.raises(ConfigError, match="expected uint8 images"):
        extractor(images.astype(np.float32))


def test_an_unknown_extractor_names_the_nearest():
    with pytest.raises(ConfigError, match="did you mean 'inception'"):
        load_extractor("incepton", "digits")


def test_inception_is_looked_for_in_order(prepared, monkeypatch):
    mirror = prepared / "mirror"
    here, there, given = inception.INCEPTION_FOLDER, mirror / "inception", prepared / "given.pth"
    with pytest.raises(CheckpointError, match="--offline forbids"):
        find_inception(mirror=str(mirror), offline=True)
    for folder in (here, there):
        folder.mkdir(parents=True)
    (here / INCEPTION_FILE).write_text("downloaded")
    assert find_inception(mirror=str(mirror), offline=True) == here / INCEPTION_FILE
    (there / INCEPTION_FILE).write_text("mirror")
    assert find_inception(mirror=f"file://{mirror}", offline=True) == there / INCEPTION_FILE
    monkeypatch.setenv("MARSCF_MIRROR", str(mirror))
    assert find_inception() == there / INCEPTION_FILE
    monkeypatch.setenv("MARSCF_INCEPTION", str(given))
    with pytest.raises(CheckpointError, match=r"given\.pth"):
        find_inception()
    given.write_text("environment")
    assert find_inception() == given
    assert find_inception(weights=there / INCEPTION_FILE) == there / INCEPTION_FILE


def test_a_download_is_verified(prepared, monkeypatch):
    import fsspec

    with fsspec.open(f"memory://m/inception/{INCEPTION_FILE}", "wb") as stream:
        stream.write(b"no weights")
    with pytest.raises(CheckpointError, match="what was downloaded has SHA-256"):
        find_inception(mirror="memory://m", offline=False)
    assert list(inception.INCEPTION_FOLDER.iterdir()) == []
    monkeypatch.setattr(inception, "INCEPTION_SHA256", hashlib.sha256(b"no weights").hexdigest()[:8])
    path = find_inception(mirror="memory://m", offline=False)
    assert path.read_bytes() == b"no weights"
    assert [file.name for file in inception.INCEPTION_FOLDER.iterdir()] == [INCEPTION_FILE]


def test_a_file_that_would_run_code_is_refused(tmp_path):
    class Trap:
        def __reduce__(self):
            return os.mkdir, (str(tmp_path / "sprung"),)

    (tmp_path / "trap.pth").write_bytes(pickle.dumps({"fc.weight": Trap()}))
    torch.save({"fc.weight": torch.zeros(1)}, tmp_path / "other.pth")
    (tmp_path / "text.pth").write_text("hello")
    for name in ("trap", "other", "text"):
        with pytest.raises(CheckpointError, match=f"{name}.pth holds no Inception weights") as error:
            load_extractor("inception", "digits", inception_weights=tmp_path / f"{name}.pth")
        assert "\n" not in str(error.value)
    assert not (tmp_path / "sprung").exists()


@pytest.fixture(scope="session")
def random_inception(tmp_path_factory):
    """An Inception file of the right format with random weights: it proves the plumbing and nothing else."""
    from torch_fidelity import feature_extractor_inceptionv3 as inception

    path = tmp_path_factory.mktemp("inception") / INCEPTION_FILE
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(inception, "load_state_dict_from_url", lambda *args, **kwargs: None)
        patch.setattr(inception.FeatureExtractorInceptionV3, "load_state_dict", lambda self, weights: None)
        torch.manual_seed(0)
        network = inception.FeatureExtractorInceptionV3("inception-v3-compat", ["2048"])
    torch.save(network.state_dict(), path)
    return path


@pytest.mark.long
def test_inception_end_to_end_with_random_weights(workplace, random_inception, tmp_path, digits):
    """The whole command, and the same FID as torch-fidelity's own command line on the same PNG files."""
    import torch_fidelity
    from PIL import Image

    command = ["evaluate", "fidelity", str(workplace), "--extractor", "inception", "--device", "cpu"]
    settings = ["--samples", "8", "--reference", "test", "--report"]
    settings += ["--inception-weights", str(random_inception)]
    few = np.load("data/datasets/digits/test.npy")[:10]
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(
            "marscf.evaluation.fidelity.reference_images",
            lambda *args: (few, "ten", "10 test images of digits"),
        )
        assert main([*command, *settings]) == 0
    word = f"inception-{sha256_file(random_inception)[:8]}"
    entries = json.loads((workplace / "fidelity.json").read_text())["measurements"]
    found = {entry["metric"]: entry for entry in entries}
    names = ("fid", "kid", "inception_score", "precision", "recall")
    assert list(found) == [f"{name}[{word}]" for name in names]  # never plain `fid`
    assert "not the published weights" in found[f"fid[{word}]"]["protocol"]
    assert found[f"inception_score[{word}]"]["value"] == pytest.approx(1, abs=1e-2)

    sampled = np.load(next(Path("data/fidelity-cache/samples").glob("*.npy")))
    for name, images in {"one": sampled, "two": few}.items():
        (tmp_path / name).mkdir()
        for index, image in enumerate(three_channels(images, 17)):
            Image.fromarray(image.transpose(1, 2, 0)).save(tmp_path / name / f"{index}.png")
    program = [sys.executable, "-m", "torch_fidelity.fidelity", "--cpu", "--fid", "--no-cache", "--json"]
    inputs = ["--input1", "one", "--input2", "two", "--feature-extractor-weights-path", str(random_inception)]
    output = subprocess.run([*program, *inputs], cwd=tmp_path, capture_output=True, text=True, check=True)
    theirs = json.loads(output.stdout)[torch_fidelity.KEY_METRIC_FID]
    assert found[f"fid[{word}]"]["value"] == pytest.approx(theirs, rel=1e-3)


def test_the_card_names_foreign_and_published_weights(tmp_path, monkeypatch):
    (tmp_path / "w.pth").write_text("any")
    monkeypatch.setattr(extractors, "load_inception", lambda path: DigitsNet(8, 10))
    foreign = load_extractor("inception", "digits", inception_weights=tmp_path / "w.pth")
    assert foreign.metric("fid").startswith("fid[inception-")
    monkeypatch.setattr(extractors, "INCEPTION_SHA256", foreign.weights_sha256[:8])
    published = load_extractor("inception", "digits", inception_weights=tmp_path / "w.pth")
    assert published.metric("fid") == "fid"
    assert "not the published" in foreign.card and "not the published" not in published.card
