import numpy as np
import pytest

from marscf.errors import EvaluationError
from marscf.studies.scores import COLUMNS, inception_score, score_paths


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


class Net:
    """A network that tells images by their first pixel, 0 to 5, nine times of ten."""

    card = "a card"

    def metric(self, name):
        return f"{name}[net]"

    def probabilities(self, batch):
        return np.eye(6)[batch[:, 0, 0, 0]] * 0.9 + 0.1 / 6


def rows_of(paths, t):
    return [(path, dict(zip(COLUMNS, row, strict=True))) for path, row in score_paths(paths, t, Net())]


def test_every_path_has_a_score_at_each_t_and_over_the_inner_ones():
    same, other = np.zeros((6, 4, 1, 2, 2), np.uint8), np.zeros((6, 4, 1, 2, 2), np.uint8)
    other[:, 1] = np.arange(6)[:, None, None, None]  # only here the images differ
    rows = rows_of({"line": same, "moved": other}, np.array([0, 0.25, 0.75, 1]))
    assert [(path, row["t"]) for path, row in rows] == [
        (path, t) for path in ("line", "moved") for t in (0, 0.25, 0.75, 1, "")
    ]
    values = [row["value"] for _, row in rows]
    assert values[6] > 3 and values[:6] == pytest.approx([1] * 6) and values[7:9] == pytest.approx([1] * 2)
    assert values[9] == pytest.approx((values[6] + 1) / 2)  # of the two inner t
    assert all(row["difference"] == row["difference_stderr"] == "" for path, row in rows if path == "line")
    moved = [row["difference"] for path, row in rows if path == "moved"]
    assert moved == pytest.approx([0, values[6] - 1, 0, 0, (values[6] - 1) / 2])
    assert all(row["n"] == 6 and row["protocol"].startswith("6 images at each t") for _, row in rows)
    assert {row["metric"] for _, row in rows} == {"inception_score[net]"}


def test_error_of_a_difference_counts_what_both_paths_have_of_the_same_pairs():
    random = np.random.default_rng(0)
    line = random.integers(0, 6, (40, 3, 1, 2, 2), dtype=np.uint8)
    moved = line.copy()
    moved[:4] = random.integers(0, 6, (4, 3, 1, 2, 2), dtype=np.uint8)  # most pairs alike
    rows = rows_of({"line": line, "moved": moved, "same": line}, np.array([0, 0.5, 1]))
    middle = {path: row for path, row in rows if row["t"] == 0.5}
    assert middle["same"]["difference_stderr"] == 0 == middle["same"]["difference"]
    alone = np.hypot(middle["line"]["stderr"], middle["moved"]["stderr"])
    assert 0 < middle["moved"]["difference_stderr"] < 0.7 * alone
    # by hand: the difference as each pair is left out in turn
    scores = [
        inception_score(Net().probabilities(np.delete(moved[:, 1], i, 0)))[0]
        - inception_score(Net().probabilities(np.delete(line[:, 1], i, 0)))[0]
        for i in range(40)
    ]
    assert middle["moved"]["difference_stderr"] == pytest.approx(np.sqrt(39 * np.var(scores)))
