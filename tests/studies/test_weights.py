"""A trained run's weights at another image side."""

import pytest
import torch
from safetensors.torch import save_file

from marscf.flows.actnorm import ActNorm
from marscf.models.base import DensityModel
from marscf.models.flowpp import FlowPP
from marscf.models.residual_flow import ResidualFlow
from marscf.studies.weights import make_trained_like, smooth_images

CPU = torch.device("cpu")


def flowpp(side: int) -> DensityModel:
    options = {"channels": 4, "blocks": 1, "components": 2, "heads": 2, "dequantiser_blocks": 1}
    options |= {"actnorm": "position", "positions": "learned", "split": "stripes", "context": "halves"}
    return FlowPP((1, side, side), 17, **options)


def residual_flow(side: int) -> DensityModel:
    return ResidualFlow((1, side, side), 17, levels=1, blocks=1, channels=4, fc_blocks=2, fc_channels=3)


@pytest.fixture(params=[flowpp, residual_flow])
def make(request):
    torch.manual_seed(0)
    return request.param


def test_what_belongs_to_an_image_size_is_fresh_and_initialised(make, tmp_path):
    trained, model = make(8), make(16)
    trained.initialise(smooth_images(16, trained.shape, 17, CPU), trained.draw_noise(16))
    save_file(trained.state_dict(), tmp_path / "weights.safetensors")
    words = make_trained_like(model, tmp_path / "weights.safetensors")
    theirs, ours = trained.state_dict(), model.state_dict()
    shared = [name for name in ours if ours[name].shape == theirs[name].shape]
    assert 0 < len(shared) < len(ours) and f"{len(shared)} of {len(ours)} tensors" in words
    assert all(torch.equal(ours[name], theirs[name]) for name in shared if "initialised" not in name)
    norms = [module for module in model.modules() if isinstance(module, ActNorm)]
    fresh = [norm for norm in norms if not norm.initialised]
    assert fresh
    model.initialise(smooth_images(16, model.shape, 17, CPU), model.draw_noise(16))
    assert all(norm.initialised and norm.bias.any() for norm in fresh)
    with torch.no_grad():
        images = model.eval().sample(4)
    assert images.shape == (4, 1, 16, 16)
