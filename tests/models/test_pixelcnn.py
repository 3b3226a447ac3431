import itertools
import time

import pytest
import torch
from baselines import images, tiny

from marscf.counting import counted
from marscf.models.pixelcnn import PixelCNN
from marscf.nets import categorical


def sample_uncached(model: PixelCNN, uniform: torch.Tensor, temperature: float = 1.0) -> torch.Tensor:
    """The oracle: a whole pass over the image for every sub-pixel."""
    x = torch.zeros(uniform.shape, dtype=torch.uint8)
    channels, height, width = model.shape
    with torch.no_grad():
        for i, j, c in itertools.product(range(height), range(width), range(channels)):
            logits = model.logits(x)[:, c, i, j] / temperature
            x[:, c, i, j] = categorical.draw(logits, uniform[:, c, i, j, None])[:, 0]
    return x


@pytest.mark.parametrize("shape, grey_levels", [((1, 2, 2), 4), ((2, 1, 2), 3), ((3, 1, 1), 5)])
def test_probabilities_sum_to_one(shape, grey_levels):
    model = tiny("pixelcnn", shape, grey_levels, size=0.5)
    every = itertools.product(range(grey_levels), repeat=model.dims)
    x = torch.tensor(list(every), dtype=torch.uint8).view(-1, *shape)
    with torch.no_grad():
        probabilities = model.log_prob(x).exp()
    assert probabilities.sum().item() == pytest.approx(1, abs=1e-9)
    assert probabilities.std() > 0.1 * probabilities.mean()  # not merely uniform


@pytest.mark.parametrize("shape, blocks, kernel", [((3, 4, 5), 3, 3), ((1, 5, 4), 2, 5), ((2, 3, 3), 1, 1)])
def test_no_subpixel_sees_itself_or_a_later_one(shape, blocks, kernel, monkeypatch):
    """By autograd, over every pair; and every earlier one within reach is seen: there is no blind spot."""
    options = {"channels": 12, "blocks": blocks, "kernel": kernel, "first_kernel": 5, "head_channels": 60}
    model = tiny("pixelcnn", shape, 4, size=0.5, **options)
    monkeypatch.setattr(PixelCNN, "scaled", lambda self, x: x)
    channels, height, width = shape
    x = torch.randn(4, *shape, dtype=torch.float64, requires_grad=True)
    logits = model.logits(x)
    order = list(itertools.product(range(height), range(width), range(channels)))
    for place, (i, j, c) in enumerate(order):
        (gradient,) = torch.autograd.grad(logits[:, c, i, j].square().sum(), x, retain_graph=True)
        seen = torch.stack([gradient[:, k, a, b].any() for a, b, k in order])
        assert not seen[place:].any(), f"sub-pixel {(i, j, c)} sees itself or a later one"
        if blocks > 1:
            for earlier, (a, b, k) in enumerate(order[:place]):
                if i - a <= 2 and abs(j - b) <= 2:
                    assert seen[earlier], f"sub-pixel {(i, j, c)} is blind to {(a, b, k)}"


@pytest.mark.parametrize(
    "shape, options",
    [
        ((1, 6, 5), {}),
        ((3, 4, 6), {"channels": 7, "head_channels": 8, "blocks": 3, "first_kernel": 5, "kernel": 5}),
        ((4, 3, 3), {"channels": 6, "blocks": 1, "first_kernel": 7}),
        ((2, 4, 4), {"kernel": 1, "blocks": 3}),
    ],
)
@pytest.mark.parametrize("temperature", [1.0, 0.5])
def test_cached_sampling_is_uncached_sampling(shape, options, temperature):
    model = tiny("pixelcnn", shape, 5, size=0.5, **options)
    uniform = torch.rand(3, *shape, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    with counted() as steps:
        cached = model.sample_from(uniform, temperature)
    assert steps.total == model.dims
    assert torch.equal(cached, sample_uncached(model, uniform, temperature))
    assert len(cached.unique()) > 1


def test_samples_follow_the_model():
    model = tiny("pixelcnn", (1, 2, 2), 2, size=0.5)
    x = torch.tensor(list(itertools.product(range(2), repeat=4)), dtype=torch.uint8).view(-1, 1, 2, 2)
    drawn = model.sample(20_000, generator=torch.Generator().manual_seed(0))
    share = (drawn[:, None] == x[None]).flatten(2).all(2).double().mean(0)
    with torch.no_grad():
        torch.testing.assert_close(share, model.log_prob(x).exp(), atol=0.015, rtol=0)


def test_weights_serve_every_image_size():
    small, large = tiny("pixelcnn", (3, 4, 4)), tiny("pixelcnn", (3, 8, 8))
    large.load_state_dict(small.state_dict())
    x = images(large, 2)
    with torch.no_grad():
        torch.testing.assert_close(large.logits(x)[:, :, :4, :2], large.logits(x[..., :4, :])[:, :, :4, :2])


@pytest.mark.long
def test_the_caches_are_worth_it():
    model = PixelCNN(
        (1, 32, 32), 256, channels=32, blocks=4, first_kernel=7, kernel=5, head_channels=64
    ).eval()
    start = time.process_time()
    model.sample(8)
    cached = time.process_time() - start
    x = images(model, 8)
    with torch.no_grad():
        model.logits(x)
        start = time.process_time()
        for _ in range(16):
            model.logits(x)
    whole = (time.process_time() - start) * model.dims / 16
    assert whole > 5 * cached
