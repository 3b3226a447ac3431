"""A trained run's weights at another image side."""

import pytest
import torch

from marscf.flows.actnorm import ActNorm
from marscf.models import save
from marscf.models.base import DensityModel
from marscf.models.flowpp import FlowPP
from marscf.models.residual_flow import ResidualFlow
from marscf.settings import DataSettings, RunConfig, TrainingSettings
from marscf.studies.weights import make_trained_like, smooth_images, trained_run

CPU = torch.device("cpu")


FLOWPP = {"channels": 4, "blocks": 1, "components": 2, "heads": 2, "dequantiser_blocks": 1}
FLOWPP |= {"actnorm": "position", "positions": "learned", "split": "stripes", "context": "halves"}
RESIDUAL_FLOW = {"levels": 1, "blocks": 1, "channels": 4, "fc_blocks": 2, "fc_channels": 3}
MODELS = {"flowpp.FlowPP": (FlowPP, FLOWPP), "residual_flow.ResidualFlow": (ResidualFlow, RESIDUAL_FLOW)}


def make(name: str, side: int) -> DensityModel:
    kind, options = MODELS[name]
    return kind((1, side, side), 17, **options)


@pytest.mark.parametrize("name", MODELS)
def test_what_belongs_to_an_image_size_is_fresh_and_initialised(name, tmp_path):
    torch.manual_seed(0)
    trained, model = make(name, 8), make(name, 16)
    trained.initialise(smooth_images(16, trained.shape, 17, CPU), trained.draw_noise(16))
    config = RunConfig(
        **{"scale": "any", "dataset": "digits", "system": "any", "seed": 0, "seed_value": 0},
        model=name,
        options=MODELS[name][1],
        training=TrainingSettings(),
        data=DataSettings((1, 8, 8), 17, 64, "none"),
    )
    save(trained, config, tmp_path / "weights.safetensors")
    words = make_trained_like(model, trained_run(tmp_path))
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
