"""Lemma A.1: the sizes of the levels, and the sequential steps that the sampler really takes."""

import math

import pytest
import torch

from marscf.counting import counted, tick
from marscf.models.multiscale_flow import MultiScaleFlow


def smallest(channels: int, levels: int, **options) -> MultiScaleFlow:
    side = 2**levels
    return MultiScaleFlow(
        (channels, side, side),
        256,
        levels=levels,
        steps=1,
        channels=2,
        lstm_channels=1,
        lstm_layers=1,
        **options,
    ).eval()


@pytest.mark.parametrize("channels", [1, 3])
@pytest.mark.parametrize("levels", range(1, 7))
def test_lemma_a1(channels, levels):
    model = smallest(channels, levels, prior="mar")
    side = 2**levels
    shapes = model.latent_shapes
    for level, shape in enumerate(shapes[:-1], 1):
        assert shape == (2**level * channels, side // 2**level, side // 2**level)
    assert shapes[-1] == (2 ** (levels + 1) * channels, 1, 1)
    assert sum(math.prod(shape) for shape in shapes) == channels * side * side
    with torch.no_grad():
        latents, _ = model.encode_continuous(torch.zeros(1, *model.shape))
    assert [tuple(z.shape[1:]) for z in latents] == shapes
    with counted() as steps:
        images = model.sample(1)
    assert images.shape == (1, *model.shape)
    assert steps.total == sum(2**i * channels for i in range(1, levels)) + 2 ** (levels + 1) * channels


@pytest.mark.parametrize("levels", [1, 3])
def test_gaussian_prior_takes_a_step_a_level(levels):
    with counted() as steps:
        smallest(3, levels, prior="gaussian").sample(2)
    assert steps.total == levels


def test_density_takes_no_sequential_step():
    model = smallest(1, 2, prior="mar")
    with counted() as steps, torch.no_grad():
        model.log_prob(torch.zeros(2, 1, 4, 4, dtype=torch.uint8))
    assert steps.total == 0


def test_blocks_count_on_their_own():
    with counted() as outer:
        tick()
        with counted() as inner:
            tick(3)
    tick()
    assert (outer.total, inner.total) == (1, 3)
