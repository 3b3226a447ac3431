import copy

import pytest
import torch

from marscf.flows.actnorm import ActNorm
from marscf.models.multiscale_flow import MultiScaleFlow
from marscf.nets.channel_norm import FEW


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


def test_per_position_every_position_is_whitened():
    norm, x = ActNorm(3, (4, 4)), batch(0) * torch.tensor([1.0, 2.0, 3.0, 4.0])
    z, log_det = norm(x)
    variance, mean = torch.var_mean(z, 0, correction=0)
    torch.testing.assert_close(mean, torch.zeros(3, 4, 4), atol=1e-3, rtol=0)
    torch.testing.assert_close(variance, torch.ones(3, 4, 4), atol=1e-3, rtol=0)
    torch.testing.assert_close(log_det, norm.log_scale.sum().expand(64))


def test_constant_positions_are_scaled_no_further_than_the_least_variance():
    """Such as the black border of MNIST, were it not for its noise."""
    norm, x = ActNorm(3, (4, 4), least_variance=1e-8), batch(0)
    x[..., 0] = 7
    z, _ = norm(x)
    assert z[..., 0].abs().max() < 0.1
    torch.testing.assert_close(norm.log_scale[..., 0].exp(), torch.full((3, 4), 1e4), rtol=0.02, atol=0)


@pytest.mark.parametrize("images", [1, FEW - 1])
def test_a_small_batch_sets_it_per_channel(images):
    position, channel, x = ActNorm(3, (4, 4)), ActNorm(3), batch(0)[:images]
    torch.testing.assert_close(position(x), channel(x))
    assert position.bias.shape == (3, 4, 4)


def test_weights_of_another_image_size_do_not_say_that_it_is_initialised():
    norm, other = ActNorm(3, (4, 4)), ActNorm(3, (2, 2))
    norm(batch(0))
    other.load_state_dict({"initialised": norm.initialised}, strict=False)
    variance = other(batch(1)[..., :2, :2])[0].var(0, correction=0)
    torch.testing.assert_close(variance, torch.ones(3, 2, 2), atol=1e-3, rtol=0)


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
