"""What `training.compile` compiles computes the same, in one piece."""

import copy

import pytest
import torch
from torch._dynamo.utils import counters

from marscf.kernels.attention import attention
from marscf.kernels.compiled import fused, fusing
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
@pytest.mark.parametrize("name", ["affine", "mixlogcdf", "flowpp", "flowpp of its authors"])
def test_gradients_and_likelihood(name):
    torch.manual_seed(0)
    small = {"channels": 8, "blocks": 1, "components": 4, "heads": 2, "dropout": 0.0}
    if "flowpp" in name:
        small |= {"checkerboard": 1, "channelwise": 1, "checkerboard_after": 1, "dequantiser_couplings": 1}
        if name != "flowpp":
            small |= {"actnorm": "position", "positions": "learned", "dropped": "values", "exit_elu": True}
            small |= {"context": "attention"}
        model = FlowPP(SHAPE, 256, **small)
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


@pytest.mark.long
def test_attention_with_dropout_on_a_cpu():
    dropped = torch.compile(attention, fullgraph=True)
    torch.manual_seed(0)
    query, key = (torch.randn(2, 2, 64, 8, requires_grad=True) for _ in range(2))
    value = torch.eye(64).expand(2, 2, 64, 64)
    found = []
    for seed in (1, 2, 1):
        torch.manual_seed(seed)
        found.append(dropped(query, key, value, 0.2))
    assert torch.equal(found[0], found[2]) and not torch.equal(found[0], found[1])
    weights = attention(query, key, value)
    kept = found[0] != 0
    torch.testing.assert_close(found[0], weights * kept / 0.8, rtol=1e-4, atol=1e-6)
    assert abs(kept.double().mean() - 0.8) < 5 * (0.16 / kept.numel()) ** 0.5
    (gradient,) = torch.autograd.grad(found[0].square().sum(), query)
    (expected,) = torch.autograd.grad((weights * kept / 0.8).square().sum(), query)
    torch.testing.assert_close(gradient, expected, rtol=1e-3, atol=1e-5)
