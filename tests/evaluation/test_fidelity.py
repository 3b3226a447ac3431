import json
import math
from pathlib import Path

import numpy as np
import pytest
import scipy.linalg
import torch

from marscf.cli import main
from marscf.errors import EvaluationError
from marscf.evaluation import digits_net
from marscf.evaluation import fidelity as module
from marscf.evaluation.extractors import load_extractor
from marscf.evaluation.fidelity import (
    compare,
    extract,
    frechet_distance,
    frechet_inception_distance,
    inception_score,
    kernel_inception_distance,
    precision_and_recall,
    root_of,
)


@pytest.fixture
def extractor(extractor_at_hand):
    return load_extractor("digits-net", "digits", grey_levels=17)


@pytest.fixture
def halves(digits, extractor):
    """Features of two halves of the real digits."""
    images = digits[0]
    return extractor(images[:900])[0], extractor(images[900:])[0]


def float64_fid(one, two):
    """An independent computation, by scipy's matrix square root."""
    one, two = one.astype(np.float64), two.astype(np.float64)
    cov_1, cov_2 = np.cov(one.T), np.cov(two.T)
    cross = scipy.linalg.sqrtm(cov_1 @ cov_2).real
    return np.sum((one.mean(0) - two.mean(0)) ** 2) + np.trace(cov_1 + cov_2 - 2 * cross)


def test_fid_equals_an_independent_computation(halves):
    value, error = frechet_inception_distance(*halves)
    assert value == pytest.approx(float64_fid(*halves), rel=1e-4)
    assert 0 < error < value
    one, two = (x.astype(np.float64) for x in halves)
    cov = np.cov(two.T)
    own = frechet_distance(one.mean(0), np.cov(one.T), two.mean(0), cov, root_of(cov))
    assert own == pytest.approx(value, rel=1e-4)


def test_fid_of_gaussians_with_known_distance():
    rng = np.random.default_rng(0)
    one = rng.normal(size=(20_000, 3))
    two = rng.normal(size=(20_000, 3)) * 2 + 1
    assert frechet_inception_distance(one, two)[0] == pytest.approx(3 * 1 + 3 * 1, rel=0.05)


def test_fid_is_symmetric_and_zero_on_itself(halves):
    forth, back = frechet_inception_distance(*halves)[0], frechet_inception_distance(*halves[::-1])[0]
    assert forth == pytest.approx(back, rel=1e-6)
    assert frechet_inception_distance(halves[0], halves[0])[0] == pytest.approx(0, abs=1e-5 * forth)


def test_fid_and_kid_grow_with_noise(digits, extractor):
    images = digits[0]
    rng = np.random.default_rng(0)
    real = extractor(images[900:1500])[0]
    noise = rng.normal(size=images[:600].shape)
    fids, kids = [], []
    for level in (0, 1, 2, 4, 8):  # of 16 grey levels
        noisy = np.round(images[:600] + level * noise).clip(0, 16).astype(np.uint8)
        features = extractor(noisy)[0]
        fids.append(frechet_inception_distance(features, real)[0])
        kids.append(kernel_inception_distance(features, real)[0])
    assert np.all(np.diff(fids) > 0)
    assert np.all(np.diff(kids) > 0)


def test_the_error_of_fid_is_the_spread_of_repeated_samples():
    rng = np.random.default_rng(1)
    reference = rng.normal(size=(2000, 4))
    draws = [rng.normal(loc=0.3, size=(400, 4)) for _ in range(60)]
    found = [frechet_inception_distance(draw, reference) for draw in draws]
    spread = np.std([value for value, _ in found], ddof=1)
    assert np.mean([error for _, error in found]) == pytest.approx(spread, rel=0.35)


def test_the_error_of_kid_is_the_spread_of_repeated_samples(monkeypatch):
    monkeypatch.setattr(module, "KID_SUBSETS", 40)
    rng = np.random.default_rng(2)
    pairs = [(rng.normal(loc=0.5, size=(200, 4)), rng.normal(size=(200, 4))) for _ in range(40)]
    found = [kernel_inception_distance(*pair) for pair in pairs]
    spread = np.std([value for value, _, _ in found], ddof=1)
    assert np.mean([error for _, error, _ in found]) == pytest.approx(spread, rel=0.4)
    assert {size for _, _, size in found} == {100}


def test_kid_equals_the_unbiased_estimate(halves):
    one, two = (x[:400].astype(np.float64) for x in halves)
    value, error, _ = kernel_inception_distance(one, two)

    def kernel(x, y):
        return (x @ y.T / x.shape[1] + 1) ** 3

    inner = [(kernel(x, x).sum() - np.trace(kernel(x, x))) / (400 * 399) for x in (one, two)]
    full = sum(inner) - 2 * kernel(one, two).mean()
    assert value == pytest.approx(full, abs=3 * error)


def test_inception_score_by_hand_and_at_its_ends(digits, extractor):
    images = digits[0][:400]
    mean, error = inception_score(images, extractor)
    assert 1 < mean < 10 and error > 0
    order = np.random.RandomState(0).permutation(400)
    scores = []
    for split in np.split(extractor.probabilities(images)[order], 10):
        scores.append(np.exp(np.mean(np.sum(split * np.log(split / split.mean(0)), axis=1))))
    assert mean == pytest.approx(np.mean(scores), rel=1e-6)
    assert error == pytest.approx(np.std(scores, ddof=1) / math.sqrt(10), rel=1e-6)
    one, _ = inception_score(np.repeat(images[:1], 100, axis=0), extractor)
    assert one == pytest.approx(1, abs=1e-9)
    with pytest.raises(EvaluationError, match="at least 8"):
        inception_score(images[:7], extractor)


def test_precision_and_recall_tell_missing_modes_from_junk():
    rng = np.random.default_rng(0)
    modes = np.repeat(np.array([[0.0, 0.0], [50.0, 0.0]]), 200, axis=0)
    real = modes + rng.normal(size=modes.shape)
    one_mode = rng.normal(size=(400, 2))
    precision, recall = precision_and_recall(one_mode, real)
    assert precision > 0.9 and recall < 0.6
    junk = np.concatenate([real[::2], rng.uniform(200, 900, size=(200, 2))])
    precision, recall = precision_and_recall(junk, real)
    assert precision == pytest.approx(0.5, abs=0.01) and recall > 0.8
    assert precision_and_recall(real, real) == (1.0, 1.0)


def test_the_same_numbers_as_torch_fidelity_itself(digits, extractor, tmp_path):
    import torch_fidelity
    from torch_fidelity.feature_extractor_base import FeatureExtractorBase

    class Wrapped(FeatureExtractorBase):
        def __init__(self, name, features_list, **kwargs):
            super().__init__(name, features_list)

        @staticmethod
        def get_provided_features_list():
            return ("features", "logits")

        @staticmethod
        def get_default_feature_layer_for_metric(metric):
            return "logits" if metric == "isc" else "features"

        def forward(self, images):
            found = dict(zip(("features", "logits"), extractor.network(images), strict=True))
            return tuple(found[name] for name in self.features_list)

    torch_fidelity.register_feature_extractor("test-wrapped", Wrapped)
    one, two = digits[0][:600], digits[0][600:1300]
    prepared = [torch.from_numpy(digits_net.three_channels(x, 17)) for x in (one, two)]
    theirs = torch_fidelity.calculate_metrics(
        input1=Images(prepared[0]),
        input2=Images(prepared[1]),
        feature_extractor="test-wrapped",
        cuda=False,
        cache=False,
        save_cpu_ram=True,
        verbose=False,
        fid=True,
        kid=True,
        isc=True,
        prc=True,
        kid_subset_size=300,
        rng_seed=5,
    )
    features = [extract(x, str(i), extractor, cache=tmp_path) for i, x in enumerate((one, two))]
    ours = compare(*features, extractor, samples_card="a", reference_card="b", seed=5)
    values = {entry["metric"]: entry["value"] for entry in ours}
    assert values["fid[digits-net]"] == pytest.approx(theirs["frechet_inception_distance"], rel=1e-4)
    assert values["kid[digits-net]"] == pytest.approx(
        theirs["kernel_inception_distance_mean"], rel=1e-3, abs=1e-6
    )
    assert values["inception_score[digits-net]"] == pytest.approx(theirs["inception_score_mean"], rel=1e-6)
    assert values["precision[digits-net]"] == pytest.approx(theirs["precision"], abs=1e-6)
    assert values["recall[digits-net]"] == pytest.approx(theirs["recall"], abs=1e-6)


class Images(torch.utils.data.Dataset):
    def __init__(self, images):
        self.images = images

    def __len__(self):
        return len(self.images)

    def __getitem__(self, index):
        return self.images[index]


def test_command_writes_every_number_with_its_card(workplace, extractor_at_hand):
    arguments = ["evaluate", "fidelity", str(workplace), "--samples", "300", "--device", "cpu", "--report"]
    assert main(arguments) == 0
    first = (workplace / "fidelity.json").read_bytes()
    written = json.loads(first)
    assert written["run"]["system"] == "gaussian"
    found = {entry["metric"]: entry for entry in written["measurements"]}
    names = ("fid", "kid", "inception_score", "precision", "recall")
    assert list(found) == [f"{name}[digits-net]" for name in names]
    receipt = json.loads((digits_net.ROOT / "digits" / "receipt.json").read_text())
    digest = json.loads(Path("data/datasets/digits/manifest.json").read_text())["digest"]
    for entry in found.values():
        assert entry["n"] == 300 and entry["stderr"] is not None
        assert "\n" not in entry["protocol"]
        for word in (
            "300 samples",
            "seed 0",
            "temperature 1",
            receipt["weights_sha256"][:8],
            "test accuracy",
        ):
            assert word in entry["protocol"]
    for name in ("fid", "kid", "precision", "recall"):
        assert f"1257 train images of digits {digest[:8]}" in found[f"{name}[digits-net]"]["protocol"]
    assert "biased upwards" in found["fid[digits-net]"]["protocol"]
    assert main(arguments) == 0
    assert (workplace / "fidelity.json").read_bytes() == first

    assert main([*arguments, "--images", "40"]) == 0
    fewer = json.loads((workplace / "fidelity.json").read_text())["measurements"][0]
    assert fewer["n"] == 40 and fewer["protocol"].startswith("40 samples")
    assert f"against 40 of 1257 train images of digits {digest[:8]} (seed 0)" in fewer["protocol"]

    assert main(["evaluate", "floor", "data/runs/trial/digits", "--device", "cpu"]) == 0
    floor = json.loads(Path("data/runs/trial/digits/floor.json").read_text())
    assert floor["run"] == {"scale": "trial", "dataset": "digits", "system": "real", "seed": 0}
    least = {entry["metric"]: entry for entry in floor["measurements"]}
    assert least["fid[digits-net]"]["value"] < found["fid[digits-net]"]["value"]
    assert least["precision[digits-net]"]["value"] > found["precision[digits-net]"]["value"]
    assert "360 test images of digits" in least["fid[digits-net]"]["protocol"]


def test_no_extractor_measures_nothing(workplace):
    assert main(["evaluate", "fidelity", str(workplace), "--extractor", "none"]) == 0
    assert json.loads((workplace / "trial-fidelity.json").read_text())["measurements"] == []
    assert not (workplace / "fidelity.json").exists()


def test_bad_input_ends_in_one_line(workplace, capsys, monkeypatch):
    monkeypatch.setenv("MARSCF_OFFLINE", "1")
    command = ["evaluate", "fidelity", str(workplace), "--device", "cpu"]
    assert main(command) == 2
    assert "marscf evaluate extractor digits" in capsys.readouterr().err
    assert main([*command, "--extractor", "inception"]) == 2
    line = capsys.readouterr().err
    assert "weights-inception-2015-12-05-6726825d.pth" in line and len(line.strip().splitlines()) == 1
    for way in ("--inception-weights", "MARSCF_INCEPTION", "MIRROR/inception/"):
        assert way in line
    assert not (workplace / "fidelity.json").exists()


def test_the_publishers_whole_training_set_can_be_the_reference(prepared):
    images, identity, card = module.reference_images("digits", "train+val")
    assert images.shape == (1437, 1, 8, 8) and card.startswith("1437 train+val images of digits ")
    some, other, card = module.reference_images("digits", "train", 100, seed=1)
    assert some.shape == (100, 1, 8, 8) and card.startswith("100 of 1257 train images")
    assert len({identity, other, module.reference_images("digits", "train", 100, seed=2)[1]}) == 3
