import json
import math

import numpy as np
import pytest
import torch

from marscf.cli import main
from marscf.data.arrays import read_manifest
from marscf.errors import EvaluationError
from marscf.evaluation import likelihood
from marscf.evaluation.likelihood import estimation_error, evaluate_likelihood, likelihood_measurements
from marscf.evaluation.measured import read_per_image
from marscf.models.base import DensityModel
from marscf.models.residual_flow import ResidualFlow


class Coin(DensityModel):
    """An exact density: every grey level equally likely."""

    def __init__(self, shape, grey_levels):
        super().__init__(shape, grey_levels)
        self.dummy = torch.nn.Parameter(torch.zeros(()))

    def log_prob(self, x, noise=None):
        return torch.full((len(x),), -self.dims * math.log(self.grey_levels))

    def sample(self, n, temperature=1.0, generator=None):
        return torch.randint(self.grey_levels, (n, *self.shape), generator=generator).to(torch.uint8)


def test_exact_model_is_scored_once_and_gives_log2_of_the_levels(digits):
    images = digits[0][:7]
    model = Coin((1, 8, 8), 17)
    result = evaluate_likelihood(model, images, draws=8, importance_samples=16, batch_size=3)
    entries = likelihood_measurements(result, model, dims=64, available=7)
    assert [entry["metric"] for entry in entries] == ["bits_per_dim", "nats_per_image", "parameters"]
    assert entries[0]["value"] == pytest.approx(math.log2(17), rel=1e-6)
    assert entries[0]["stderr"] == pytest.approx(0, abs=1e-12)
    assert entries[0]["protocol"] == "exact, 7 test images, dims 64, no image dropped, float32"
    assert entries[2]["value"] == 1


def test_every_image_counts_whatever_the_batch_size(model, digits):
    images = digits[0][:23]
    results = [
        evaluate_likelihood(model, images, draws=3, importance_samples=5, batch_size=size)
        for size in (1, 7, 23, 100)
    ]
    for result in results[1:]:
        np.testing.assert_allclose(result.bound, results[0].bound, rtol=1e-5)
        np.testing.assert_allclose(result.importance_weighted, results[0].importance_weighted, rtol=1e-5)
    assert len(results[0].bound) == 23
    again = evaluate_likelihood(model, images, draws=3, importance_samples=5, batch_size=7)
    np.testing.assert_array_equal(again.bound, results[1].bound)
    other = evaluate_likelihood(model, images, draws=3, batch_size=7, seed=1)
    assert not np.array_equal(other.bound, results[1].bound)


def test_an_image_keeps_its_noise_when_others_join(model, digits):
    few, many = (evaluate_likelihood(model, digits[0][:n], draws=2, batch_size=4) for n in (5, 9))
    np.testing.assert_allclose(many.bound[:5], few.bound, rtol=1e-5)


def test_an_interruption_loses_one_batch_at_most(model, digits, tmp_path, monkeypatch):
    images, how, log_prob = digits[0][:23], {"draws": 2, "batch_size": 5}, model.log_prob
    whole, seen = evaluate_likelihood(model, images, **how), []

    def counted(x, noise):
        seen.append(len(x))
        if len(seen) == 6:  # the second draw of the third batch
            raise KeyboardInterrupt
        return log_prob(x, noise)

    monkeypatch.setattr(model, "log_prob", counted)
    with pytest.raises(KeyboardInterrupt):
        evaluate_likelihood(model, images, **how, kept=tmp_path / "nats.npy")
    again = evaluate_likelihood(model, images, **how, kept=tmp_path / "nats.npy")
    assert seen[6:] == [5, 5, 5, 5, 3, 3]
    np.testing.assert_array_equal(again.bound, whole.bound)


def test_bound_and_importance_weighted_bound_against_the_exact_mass(model, digits):
    """With u uniform, E p(y) is the mass of the Gaussian in each grey level's bin: known in closed form."""
    images = digits[0][:40]
    mean, scale = model.mean.detach().double(), model.log_scale.detach().double().exp()
    normal = torch.distributions.Normal(mean, scale)
    edge = torch.from_numpy(images).double() / 17
    mass = (normal.cdf(edge + 1 / 17) - normal.cdf(edge)).log().sum((1, 2, 3)).numpy()
    result = evaluate_likelihood(model, images, draws=256, importance_samples=256)
    assert np.all(result.bound < result.importance_weighted)
    loose, tight = (mass - result.bound).mean(), (mass - result.importance_weighted).mean()
    assert loose > 0.02
    assert abs(tight) < 0.25 * loose


def test_float64_weights_are_measured_in_float32(model, digits):
    result = evaluate_likelihood(model.double(), digits[0][:2], draws=1)
    assert next(model.parameters()).dtype == torch.float32
    assert result.bound.dtype == np.float64


@pytest.mark.parametrize("value", [float("nan"), float("-inf")])
def test_a_value_that_is_not_finite_names_its_image(model, digits, value):
    score = model.log_prob

    def broken(x, noise):
        nats = score(x, noise)
        nats[(x == 16).flatten(1).sum(1) == 9] = value
        return nats

    model.log_prob = broken
    images = digits[0][:60]
    index = int(np.argmax((images == 16).reshape(60, -1).sum(1) == 9))
    assert index > 0
    with pytest.raises(EvaluationError, match=f"test image {index}: .* {value}"):
        evaluate_likelihood(model, images, draws=2, batch_size=8)


@pytest.fixture
def estimating():
    """A Residual Flow far from the identity, whose log-determinant is estimated."""
    torch.manual_seed(0)
    flow = ResidualFlow((1, 8, 8), 17, levels=0, blocks=1, channels=8, exact_terms=1, exact_dims=0)
    for parameter in flow.parameters():
        torch.nn.init.normal_(parameter, std=0.5)
    flow.follow_norms(100)
    return flow.eval()


def test_the_error_of_a_stochastic_log_determinant(estimating, digits):
    images, x = digits[0][:64], torch.from_numpy(digits[0][:64])
    found = estimation_error(estimating, estimating.estimate, images)
    noise = estimating.draw_noise(64, torch.Generator().manual_seed(1))
    with torch.no_grad():
        estimate = estimating.log_prob(x, noise)
        estimating.exact_dims = 64
        off = estimate - estimating.log_prob(x, noise)
        estimating.exact_dims = 0
    true = off.square().mean().sqrt().item() / 8 / (64 * math.log(2))
    assert true / 1.6 < found < 1.6 * true
    assert estimation_error(estimating, estimating.estimate, images[:16]) > found  # fewer images' mean


def test_probes_are_added_until_it_is_small(estimating, digits, monkeypatch):
    images = digits[0][:64]
    allowed = estimation_error(estimating, estimating.estimate, images) / 3
    monkeypatch.setattr(likelihood, "LARGEST_ESTIMATION_ERROR", allowed)
    result = evaluate_likelihood(estimating, images, draws=1)
    assert estimation_error(estimating, result.estimate, images) <= allowed
    assert result.estimate.probes in (8, 16, 32) and estimating.estimate.probes == 1
    protocol = likelihood_measurements(result, estimating, dims=64, available=64)[0]["protocol"]
    assert f"{result.estimate.probes} probe(s)" in protocol and f"error below {allowed} bits/dim" in protocol


def test_no_images_is_an_error(model, digits):
    with pytest.raises(EvaluationError, match="no test images"):
        evaluate_likelihood(model, digits[0][:0])


def test_command_writes_the_file_and_the_same_file_again(workplace, capsys):
    arguments = ["evaluate", "likelihood", str(workplace), "--device", "cpu", "--draws", "2", "--report"]
    assert main([*arguments, "--importance-samples", "4"]) == 0
    first = (workplace / "likelihood.json").read_bytes()
    images = (workplace / "likelihood.npz").read_bytes()
    written = json.loads(first)
    assert written["run"] == {"scale": "trial", "dataset": "digits", "system": "gaussian", "seed": 0}
    found = {entry["metric"]: entry for entry in written["measurements"]}
    costs = {"parameters", "gflops_per_image"}
    assert set(found) == {"bits_per_dim", "bits_per_dim_iw", "bits_per_dim_train", "nats_per_image", *costs}
    bits, nats = found["bits_per_dim"], found["nats_per_image"]
    assert bits["n"] == 360
    assert bits["value"] == pytest.approx(nats["value"] / (64 * math.log(2)), rel=1e-12)
    assert bits["stderr"] == pytest.approx(nats["stderr"] / (64 * math.log(2)), rel=1e-12)
    assert found["bits_per_dim_iw"]["value"] < bits["value"]
    assert found["parameters"]["value"] == 128
    scores = read_per_image(workplace)
    assert (scores.nats.dtype, scores.nats.shape, scores.dims) == (np.float64, (360,), 64)
    assert scores.data == read_manifest("digits")["digest"]
    assert -scores.nats.mean() == nats["value"]
    assert scores.bits_per_dim.mean() == pytest.approx(bits["value"], rel=1e-12)
    assert bits["protocol"].startswith(
        "lower bound, uniform dequantisation, 2 draws, 360 test images, dims 64, no image dropped"
    )
    assert main([*arguments, "--importance-samples", "4"]) == 0
    assert (workplace / "likelihood.json").read_bytes() == first
    assert (workplace / "likelihood.npz").read_bytes() == images
    assert "bits_per_dim" in capsys.readouterr().out


def test_image_by_image_in_the_order_of_the_test_split(workplace, model, digits):
    command = ["evaluate", "likelihood", str(workplace), "--device", "cpu", "--draws", "1", "--images", "7"]
    assert main([*command, "--importance-samples", "0", "--report"]) == 0
    images = digits[0][1437:]  # as prepared
    expected = evaluate_likelihood(model, images[:7], draws=1).bound
    np.testing.assert_allclose(read_per_image(workplace).nats, expected, rtol=1e-5)
    assert read_per_image(workplace.parent) is None


@pytest.mark.parametrize("option", ["--images", "--draws", "--importance-samples", "--seed"])
def test_a_trial_leaves_the_whole_measurement_and_says_what_it_is(workplace, option):
    call = ["evaluate", "likelihood", str(workplace), "--device", "cpu"]
    assert main(call) == 0
    names = ("likelihood.json", "likelihood.npz")
    whole = [(workplace / name).read_bytes() for name in names]
    assert main([*call, option, "3"]) == 0
    assert [(workplace / name).read_bytes() for name in names] == whole
    entry = json.loads((workplace / "trial-likelihood.json").read_text())["measurements"][0]
    if option == "--images":
        assert "3 of 360 test images" in entry["protocol"] and entry["n"] == 3


def test_what_changes_no_number_is_no_trial(workplace):
    call = ["evaluate", "likelihood", str(workplace), "--device", "cpu"]
    assert main([*call, "--images", "1000", "--draws", "4", "--batch-size", "100"]) == 0
    assert not (workplace / "trial-likelihood.json").exists()
    entry = json.loads((workplace / "likelihood.json").read_text())["measurements"][0]
    assert entry["n"] == 360 and "360 test images, dims 64, no image dropped" in entry["protocol"]


def test_bad_input_ends_in_one_line(workplace, capsys):
    assert main(["evaluate", "likelihood", "nowhere"]) == 2
    assert main(["evaluate", "likelihood", "data/runs/trial/digits/gaussian/seed1"]) == 2
    lines = capsys.readouterr().err.strip().splitlines()
    assert len(lines) == 2
    assert not (workplace / "likelihood.json").exists()
