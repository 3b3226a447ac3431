import copy

import pytest
import torch

from marscf.flows.actnorm import ActNorm
from marscf.models.multiscale_flow import MultiScaleFlow


def batch(seed: int) -> torch.Tensor:
    generator = torch.Generator().manual_seed(seed)
    scale = torch.tensor([0.1, 1.0, 30.0])[:, None, None]
    return 5 + scale * torch.randn(64, 3, 4, 4, generator=generator)


def test_first_training_batch_is_whitened():
    norm = ActNorm(3)
    z, log_det = norm(batch(0))
    variance, mean = torch.var_mean(z, (0, 2, 3), correction=0)
    torch.testing.assert_close(mean, torch.zeros(3), atol=1e-4, rtol=0)
    torch.testing.assert_close(variance, torch.ones(3), atol=1e-3, rtol=0)
    torch.testing.assert_close(log_det, (16 * norm.log_scale.sum()).expand(64))


def test_only_once():
    norm = ActNorm(3)
    norm(batch(0))
    before = copy.deepcopy(norm.state_dict())
    norm(3 * batch(1))
    norm.eval()(batch(2))
    assert all(torch.equal(before[name], value) for name, value in norm.state_dict().items())


def test_never_in_eval_mode():
    norm = ActNorm(3).eval()
    x = batch(0)
    assert torch.equal(norm(x)[0], x) and not norm.initialised


def test_a_loaded_one_never_again():
    norm = ActNorm(3)
    norm(batch(0))
    other = ActNorm(3)
    other.load_state_dict(norm.state_dict())
    other.train()(3 * batch(1))
    assert all(torch.equal(norm.state_dict()[name], value) for name, value in other.state_dict().items())


def test_an_uninitialised_one_loaded_into_an_initialised_one_initialises():
    norm = ActNorm(3)
    norm(batch(0))
    norm.load_state_dict(ActNorm(3).state_dict())
    variance = norm(batch(1))[0].var((0, 2, 3), correction=0)
    torch.testing.assert_close(variance, torch.ones(3), atol=1e-3, rtol=0)


@pytest.mark.parametrize("coupling", ["affine", "mixlogcdf"])
def test_of_a_whole_model(coupling):
    """`initialise` sets every ActNorm, training steps and a second call leave them be."""
    model = MultiScaleFlow(
        (1, 4, 4), 17, coupling=coupling, levels=2, steps=2, channels=4, components=2, blocks=1, heads=2,
        lstm_channels=4, lstm_layers=1,
    )  # fmt: skip
    x = torch.randint(0, 17, (32, 1, 4, 4), generator=torch.Generator().manual_seed(0), dtype=torch.uint8)
    flags = [value for name, value in model.named_buffers() if name.endswith("initialised")]
    assert flags and not any(flags)
    model.initialise(x, model.draw_noise(32))
    assert all(flags)
    before = copy.deepcopy(model.state_dict())
    model.initialise(17 - 1 - x, model.draw_noise(32))
    model.train().log_prob(x)
    assert all(torch.equal(before[name], value) for name, value in model.state_dict().items())
