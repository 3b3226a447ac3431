"""What a GPU replays is what it computes kernel by kernel; needs a CUDA GPU."""

import copy

import numpy as np
import pytest
import torch

from marscf.counting import counted
from marscf.evaluation.likelihood import evaluate_likelihood
from marscf.flows import mixture
from marscf.kernels.graphs import Replays
from marscf.models.flowpp import FlowPP
from marscf.models.multiscale_flow import MultiScaleFlow
from marscf.models.pixelcnn import PixelCNN
from marscf.studies.weights import fill_zeros
from marscf.training.gradients import RecordedGradients

pytestmark = pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA GPU")

SHAPE = (3, 16, 16)
AUTHORS = {"split": "stripes", "actnorm": "position", "positions": "learned", "mixing": "identity"}
AUTHORS |= {"dropped": "values", "context": "attention", "exit_elu": True}
MODELS = {
    "affine": lambda **more: MultiScaleFlow(SHAPE, 256, levels=2, steps=2, channels=16, **more),
    "mixlogcdf": lambda **more: MultiScaleFlow(
        SHAPE, 256, coupling="mixlogcdf", levels=2, steps=2, channels=16, blocks=2, **{"dropout": 0.0, **more}
    ),
    "flowpp": lambda **more: FlowPP(
        SHAPE, 256, channels=16, blocks=1, dequantiser_blocks=1, **{"dropout": 0.0, **more}
    ),
    "flowpp of its authors": lambda **more: FlowPP(
        SHAPE, 256, channels=16, blocks=1, dequantiser_blocks=1, **{"dropout": 0.0, **AUTHORS, **more}
    ),
    "pixelcnn": lambda **more: PixelCNN(SHAPE, 256, channels=12, blocks=2, head_channels=24, **more),
}


@pytest.fixture(params=MODELS)
def model(request):
    """A small model with weights as if trained, on the GPU."""
    return noisy(MODELS[request.param]())


@pytest.fixture(autouse=True)
def without_tf32(monkeypatch):
    monkeypatch.setattr(torch.backends.cudnn, "allow_tf32", False)


def noisy(model):
    torch.manual_seed(0)
    model.initialise(images(16), model.draw_noise(16))
    fill_zeros(model, 0.01)
    return model.cuda()


def images(count, seed=0):
    generator = torch.Generator().manual_seed(seed)
    return torch.randint(0, 256, (count, *SHAPE), dtype=torch.uint8, generator=generator)


def test_gradients_of_several_batches(model):
    plain = copy.deepcopy(model).train()
    model.train().training_loss(images(4).cuda(), model.draw_noise(4)).sum().backward()  # not recorded
    recorded = RecordedGradients(model.train(), lambda x, noise=None: model.training_loss(x, noise).mean())
    for seed in range(3):
        x = images(4, seed).cuda()
        noise = model.draw_noise(4, torch.Generator().manual_seed(seed))
        loss = recorded(x, noise)
        plain.zero_grad()
        expected = plain.training_loss(x, noise).mean()
        expected.backward()
        assert loss.item() == pytest.approx(expected.item(), rel=1e-5)
        for own, other in zip(model.parameters(), plain.parameters(), strict=True):
            if other.grad is None:
                assert own.grad is None
                continue
            torch.testing.assert_close(
                own.grad, other.grad, rtol=1e-2, atol=1e-3 * other.grad.abs().max().item() + 1e-6
            )
        with torch.no_grad():
            for own, other in zip(model.parameters(), plain.parameters(), strict=True):
                if other.grad is not None:
                    own -= 1e-6 * own.grad
                    other.copy_(own)
        model.zero_grad()


def test_dropout_is_drawn_by_the_seed_of_each_call():
    model = noisy(MODELS["mixlogcdf"](dropout=0.5)).train()
    recorded = RecordedGradients(model, lambda x, noise: model.training_loss(x, noise).mean())
    x, noise = images(4).cuda(), model.draw_noise(4)
    losses = []
    for seed in (1, 2, 1):
        torch.manual_seed(seed)
        losses.append(recorded(x, noise).item())
    assert losses[0] == losses[2] != losses[1]


def test_likelihood_is_that_of_the_cpu(model, monkeypatch):
    data = images(10).numpy()
    found = evaluate_likelihood(model, data, draws=2, batch_size=4)
    monkeypatch.setenv("MARSCF_EAGER", "1")
    plain = evaluate_likelihood(model, data, draws=2, batch_size=4)
    on_cpu = evaluate_likelihood(copy.deepcopy(model).cpu(), data, draws=2, batch_size=4)
    np.testing.assert_allclose(found.bound, plain.bound, rtol=1e-6)
    np.testing.assert_allclose(found.bound, on_cpu.bound, rtol=1e-5)


@pytest.mark.parametrize("name", ["affine", "mixlogcdf", "flowpp", "flowpp of its authors"])
def test_samples_and_their_steps(name, monkeypatch):
    model = noisy(MODELS[name]()).eval()
    drawn = {}
    for eager in ("", "1"):
        monkeypatch.setenv("MARSCF_EAGER", eager)
        with counted() as steps:
            drawn[eager] = model.sample(4, generator=torch.Generator().manual_seed(1)), steps.total
    (replayed, count), (plain, expected) = drawn[""], drawn["1"]
    assert count == expected > 0
    assert (replayed.int() - plain.int()).abs().max() <= 1
    monkeypatch.setenv("MARSCF_EAGER", "")
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.mul_(0.9)
    again = model.sample(4, generator=torch.Generator().manual_seed(1))
    monkeypatch.setenv("MARSCF_EAGER", "1")
    plain = model.sample(4, generator=torch.Generator().manual_seed(1))
    assert (again.int() - plain.int()).abs().max() <= 1
    assert not torch.equal(again, replayed)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_inverse_cdf(dtype):
    torch.manual_seed(0)
    shape = (4, 32, 3, 8, 8)
    logits, means = torch.randn(shape, dtype=torch.float64), 2 * torch.randn(shape, dtype=torch.float64)
    log_scales = (3 * torch.randn(shape, dtype=torch.float64) - 1).clamp(min=-7)
    x = 3 * torch.randn(4, 3, 8, 8, dtype=torch.float64)
    y = mixture.log_odds(x, logits, means, log_scales)[0]
    found = mixture.inverse_log_odds(*(t.cuda().to(dtype) for t in (y, logits, means, log_scales)))
    error = (mixture.log_odds(found.cpu().double(), logits, means, log_scales)[0] - y).abs() / (1 + y.abs())
    assert error.max() < (1e-3 if dtype == torch.float32 else 1e-10)


def test_a_function_is_recorded_for_each_shape():
    replays, calls = Replays(), []

    def double(x):
        calls.append(len(x))
        return 2 * x

    for count in (3, 5, 3):
        x = torch.arange(count, device="cuda", dtype=torch.float32)
        assert torch.equal(replays.run(double, [x]), 2 * x)
    assert set(calls) == {3, 5} and len(calls) == 8
