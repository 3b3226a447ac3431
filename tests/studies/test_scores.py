import numpy as np
import pytest

from marscf.errors import EvaluationError
from marscf.studies.scores import inception_score, score_paths


def test_score_of_known_distributions():
    sure = np.eye(4)[np.arange(40) % 4]
    assert inception_score(sure)[0] == pytest.approx(4.0)
    unsure = np.full((40, 4), 0.25)
    assert inception_score(unsure) == pytest.approx((1.0, 0.0), abs=1e-9)
    # Two images, p and q: the score is exp of their Jensen-Shannon divergence.
    p, q = np.array([0.7, 0.3]), np.array([0.2, 0.8])
    mixed = (p + q) / 2
    divergence = 0.5 * (p * np.log(p / mixed)).sum() + 0.5 * (q * np.log(q / mixed)).sum()
    assert inception_score(np.stack([p, q]))[0] == pytest.approx(np.exp(divergence))


def test_score_is_torch_fidelitys():
    from torch_fidelity.metric_isc import isc_features_to_metric

    generator = np.random.default_rng(0)
    logits = generator.normal(size=(60, 10)) * 3
    probabilities = np.exp(logits) / np.exp(logits).sum(1, keepdims=True)
    import torch

    theirs = isc_features_to_metric(torch.from_numpy(logits), splits=1, shuffle=False)
    assert inception_score(probabilities)[0] == pytest.approx(theirs["inception_score_mean"], rel=1e-6)


def test_error_is_the_spread_over_independent_sets():
    generator = np.random.default_rng(0)
    sets = [inception_score(generator.dirichlet(np.full(10, 0.2), 64)) for _ in range(300)]
    scores, errors = np.array(sets).T
    assert np.mean(errors) == pytest.approx(np.std(scores), rel=0.15)


@pytest.mark.parametrize("wrong", [np.full((1, 2), 0.5), np.full((3, 2), 0.6), np.full((3, 2), np.nan)])
def test_what_is_no_distribution_is_refused(wrong):
    with pytest.raises(EvaluationError, match="class distributions"):
        inception_score(wrong)


def test_every_method_and_point_has_a_score():
    images = np.zeros((6, 2, 3, 1, 2, 2), np.uint8)
    images[:, 1, 1] = np.arange(6)[:, None, None, None]  # only here the images differ

    class Net:
        card = "a card"

        def metric(self, name):
            return f"{name}[net]"

        def probabilities(self, batch):
            return np.eye(6)[batch[:, 0, 0, 0]] * 0.9 + 0.1 / 6

    rows = list(score_paths(images, np.array([0, 0.5, 1]), ("linear", "ours"), Net()))
    assert [(row[0], row[1], row[2]) for row in rows] == [
        (method, t, "inception_score[net]") for method in ("linear", "ours") for t in (0, 0.5, 1)
    ]
    values = [row[3] for row in rows]
    assert values[4] > 3 and values[:4] == pytest.approx([1] * 4) and values[5] == pytest.approx(1)
    assert all(row[5] == 6 and row[6].startswith("6 images at each t") for row in rows)
