"""What `training.compile` compiles computes the same, in one piece."""

import copy

import pytest
import torch
from torch._dynamo.utils import counters

from marscf.gpu.fused import fused, fusing
from marscf.models.flowpp import FlowPP
from marscf.models.multiscale_flow import MultiScaleFlow
from marscf.studies.weights import fill_zeros

SHAPE = (3, 8, 8)


@fused
def double(x):
    return 2 * x


def test_nothing_is_compiled_unasked(monkeypatch):
    monkeypatch.setattr(torch, "compile", lambda function, **options: lambda *args: "compiled")
    assert double(3) == 6
    with fusing():
        assert double(3) == "compiled"
        with fusing(False):
            assert double(3) == 6
    assert double(3) == 6


@pytest.mark.long
@pytest.mark.parametrize("name", ["affine", "mixlogcdf", "flowpp"])
def test_gradients_and_likelihood(name):
    torch.manual_seed(0)
    small = {"channels": 8, "blocks": 1, "components": 4, "heads": 2, "dropout": 0.0}
    if name == "flowpp":
        model = FlowPP(
            SHAPE, 256, checkerboard=1, channelwise=1, checkerboard_after=1, dequantiser_couplings=1, **small
        )
    else:
        model = MultiScaleFlow(SHAPE, 256, coupling=name, levels=2, steps=2, lstm_channels=4, **small)
    x = torch.randint(0, 256, (3, *SHAPE), dtype=torch.uint8)
    noise = model.draw_noise(3)
    fill_zeros(model, 0.01)
    model.initialise(x, noise)
    found = []
    counters.clear()
    for on in (False, True):
        own = copy.deepcopy(model).train()
        with fusing(on):
            loss = own.training_loss(x, noise).mean()
            loss.backward()
            with torch.no_grad():
                log_prob = own.eval().log_prob(x, noise)
        found.append([loss.detach(), log_prob, *(p.grad for p in own.parameters() if p.grad is not None)])
    assert not counters["graph_break"]
    assert counters["stats"]["unique_graphs"] > 5
    for plain, compiled in zip(*found, strict=True):
        torch.testing.assert_close(compiled, plain, rtol=1e-3, atol=1e-4 * (1 + plain.abs().max().item()))
