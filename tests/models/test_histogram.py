import itertools

import numpy as np
import pytest
import torch
from baselines import images, tiny

from marscf.errors import DataError
from marscf.models.histogram import PixelHistogram


def test_smoothed_counts():
    model = PixelHistogram((1, 1, 2), 3, smoothing=0.5)
    model.fit(np.array([[0, 2], [0, 1], [1, 2]], dtype=np.uint8).reshape(3, 1, 1, 2))
    expected = np.array([[2.5, 1.5, 0.5], [0.5, 1.5, 2.5]]) / 4.5
    np.testing.assert_allclose(model.logits.exp().view(2, 3).numpy(), expected, rtol=1e-6)


def test_probabilities_sum_to_one():
    model = tiny("histogram", (1, 2, 2), 3)
    x = torch.tensor(list(itertools.product(range(3), repeat=4)), dtype=torch.uint8).view(-1, 1, 2, 2)
    assert model.log_prob(x).exp().sum().item() == pytest.approx(1, abs=1e-9)


def test_many_images_are_counted_in_parts(monkeypatch):
    whole, parts = PixelHistogram((2, 3, 4), 7), PixelHistogram((2, 3, 4), 7)
    x = images(whole, 50).numpy()
    whole.fit(x)
    monkeypatch.setattr("marscf.models.histogram.CHUNK", 7)
    parts.fit(x)
    assert torch.equal(whole.logits, parts.logits)


def test_samples_follow_the_counts():
    model = PixelHistogram((1, 2, 2), 4)
    model.fit(images(model, 30).numpy())
    drawn = model.sample(20_000, generator=torch.Generator().manual_seed(0))
    for level in range(4):
        share = (drawn == level).float().mean(0)
        torch.testing.assert_close(share, model.logits.softmax(-1)[..., level], atol=0.015, rtol=0)


@pytest.mark.parametrize(
    "x, word",
    [
        (np.full((2, 1, 2, 2), 4, np.uint8), "grey level 4"),
        (np.zeros((2, 1, 4, 4), np.uint8), "expected images"),
        (np.zeros((0, 1, 2, 2), np.uint8), "expected images"),
    ],
)
def test_images_that_do_not_fit(x, word):
    with pytest.raises(DataError, match=word):
        PixelHistogram((1, 2, 2), 4).fit(x)
