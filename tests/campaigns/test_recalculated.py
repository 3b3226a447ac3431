"""Each headline number of a shipped run, calculated in another way from what the model gives.

None of the product's own evaluation is used: loops in place of batches, scipy in place of torch-fidelity.
"""

import math
from pathlib import Path

import numpy as np
import pytest
import scipy.linalg
import torch

from marscf import load
from marscf.data.arrays import open_split
from marscf.evaluation.extractors import load_extractor
from marscf.files import read_json, seed_from

RUN = Path("data/runs/quick/digits/glow/seed0")
DRAWS, WEIGHTED = 8, 16  # as scale quick says


@pytest.fixture(scope="module")
def shipped_run(shipped):
    """The run's numbers by metric, its model, and the test images."""
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(shipped)
        numbers = {}
        for name in ("likelihood.json", "fidelity.json"):
            numbers |= {entry["metric"]: entry for entry in read_json(RUN / name)["measurements"]}
        yield numbers, load(RUN, device="cpu"), open_split("digits", "test")


def test_likelihoods_image_by_image(shipped_run):
    """bits/dim of y = (x+u)/17, minus 64 log 17 nats, one image at a time; in float64."""
    numbers, model, images = shipped_run
    model.double()
    scores = np.empty((len(images), WEIGHTED))
    for index, image in enumerate(images):
        generator = torch.Generator().manual_seed(seed_from("noise", 0, index))
        u = torch.cat([torch.rand(1, 1, 8, 8, generator=generator) for _ in range(WEIGHTED)])
        y = (torch.from_numpy(image[None].astype(float)) + u.double()) / 17
        with torch.no_grad():
            latents, log_det = model.encode_continuous(y)
            log_p = model.latent_log_prob(latents) + log_det
        scores[index] = (log_p - 64 * math.log(17)).numpy()
    bits = -scores[:, :DRAWS].sum(axis=1) / DRAWS / 64 / math.log(2)
    weights = np.exp(scores - scores.max(axis=1, keepdims=True))
    weighted = -(scores.max(axis=1) + np.log(weights.sum(axis=1) / WEIGHTED)) / 64 / math.log(2)
    for metric, each in (("bits_per_dim", bits), ("bits_per_dim_iw", weighted)):
        mean = sum(each) / len(each)
        error = math.sqrt(sum((value - mean) ** 2 for value in each) / (len(each) - 1) / len(each))
        assert numbers[metric]["value"] == pytest.approx(mean, rel=1e-5)
        assert numbers[metric]["stderr"] == pytest.approx(error, rel=1e-4)
    nats = bits.mean() * 64 * math.log(2)
    assert numbers["nats_per_image"]["value"] == pytest.approx(nats, rel=1e-5)


def test_fidelity_from_features(shipped_run):
    numbers, model, _ = shipped_run
    model.float()
    chunks = []
    for chunk in range(4):
        torch.manual_seed(seed_from("samples", 0, chunk))
        generator = torch.Generator().manual_seed(seed_from("samples", 0, chunk))
        chunks.append(model.sample(250, generator=generator).numpy())
    extractor = load_extractor("digits-net", "digits", grey_levels=17, device=torch.device("cpu"))
    drawn, logits = extractor(np.concatenate(chunks))
    real, _ = extractor(np.array(open_split("digits", "train")))
    one, two = drawn.astype(np.float64), real.astype(np.float64)

    cov_1, cov_2 = np.cov(one.T), np.cov(two.T)
    fid = ((one.mean(0) - two.mean(0)) ** 2).sum() + np.trace(cov_1 + cov_2)
    fid -= 2 * np.trace(scipy.linalg.sqrtm(cov_1 @ cov_2).real)
    assert numbers["fid[digits-net]"]["value"] == pytest.approx(fid, rel=1e-4)

    def kernel(a, b):
        return (a @ b.T / a.shape[1] + 1) ** 3

    n, m = len(one), len(two)
    kid = (kernel(one, one).sum() - np.trace(kernel(one, one))) / n / (n - 1)
    kid += (kernel(two, two).sum() - np.trace(kernel(two, two))) / m / (m - 1) - 2 * kernel(one, two).mean()
    entry = numbers["kid[digits-net]"]
    assert abs(entry["value"] - kid) < 4 * entry["stderr"]  # the mean over subsets of 500

    p = np.exp(logits - logits.max(1, keepdims=True))
    p /= p.sum(1, keepdims=True)
    entry = numbers["inception_score[digits-net]"]
    score = math.exp((p * np.log(p / p.mean(0))).sum(1).mean())
    assert abs(entry["value"] - score) < 4 * entry["stderr"] + 0.1  # the mean over 10 splits, biased down

    def radii(features):
        return np.sort(np.linalg.norm(features[:, None] - features, axis=2), axis=1)[:, 3]

    apart = np.linalg.norm(one[:, None] - two, axis=2)
    precision, recall = (apart <= radii(two)).any(1).mean(), (apart <= radii(one)[:, None]).any(0).mean()
    assert numbers["precision[digits-net]"]["value"] == pytest.approx(precision, abs=0.003)
    assert numbers["recall[digits-net]"]["value"] == pytest.approx(recall, abs=0.003)
