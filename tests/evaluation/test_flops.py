"""FLOPs of training are counted: of layers that are counted by hand, and whatever the kernels are."""

import pytest
import torch
from torch import nn

from marscf.evaluation.flops import training_flops
from marscf.models.base import DensityModel
from marscf.models.histogram import PixelHistogram
from marscf.models.multiscale_flow import MultiScaleFlow
from marscf.models.residual_flow import ResidualFlow

IMAGE = torch.randint(0, 17, (1, 8, 8), dtype=torch.uint8, generator=torch.Generator().manual_seed(0))


class TwoLayers(DensityModel):
    """A convolution and a product, with a work per batch that no image has a share in."""

    def __init__(self):
        super().__init__((1, 8, 8), 17)
        self.first, self.second = nn.Conv2d(1, 4, 3, padding=1), nn.Linear(4 * 64, 10)
        self.per_batch = nn.Parameter(torch.ones(50, 50))

    def log_prob(self, x, noise=None, estimate=None):
        whole = (self.per_batch @ self.per_batch).mean()
        return self.second(self.first(x.float()).flatten(1)).sum(1) + whole

    def sample(self, n, temperature=1.0, generator=None):
        raise NotImplementedError


def test_two_layers_are_counted_by_hand():
    convolution, product = 4 * 9 * 64, 4 * 64 * 10  # multiplications, each with an addition
    # backward: both weights' gradients, and that of the second layer's input; the image needs none
    assert training_flops(TwoLayers(), IMAGE) == 2 * (2 * convolution + 3 * product)


@pytest.mark.parametrize("coupling", ["affine", "mixlogcdf"])
def test_a_model_is_left_as_it_is_and_the_count_is_the_same_again(coupling):
    options = {"levels": 2, "steps": 1, "channels": 8, "lstm_channels": 4, "lstm_layers": 1}
    more = {"components": 2, "blocks": 1, "heads": 2} if coupling == "mixlogcdf" else {}
    model = MultiScaleFlow((1, 8, 8), 17, coupling=coupling, prior="mar", **options, **more).eval()
    before = {name: tensor.clone() for name, tensor in model.state_dict().items()}
    count = training_flops(model, IMAGE)
    assert count == training_flops(model, IMAGE) > 0
    assert not model.training and all(parameter.grad is None for parameter in model.parameters())
    assert all(torch.equal(tensor, before[name]) for name, tensor in model.state_dict().items())


def test_a_series_of_random_length_has_the_same_count_again():
    model = ResidualFlow((1, 8, 8), 17, levels=1, blocks=1, channels=8, fc_blocks=0)
    state = torch.get_rng_state()
    assert training_flops(model, IMAGE) == training_flops(model, IMAGE) > 0
    assert torch.equal(torch.get_rng_state(), state)


def test_a_model_in_closed_form_has_none():
    assert training_flops(PixelHistogram((1, 8, 8), 17), IMAGE) is None
