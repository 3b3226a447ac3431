"""Learned dequantisation, of every flow that has it as an option, and of Flow++."""

import math

import pytest
import torch
from baselines import images, noise, tiny

MODELS = {
    "flowpp": {"checkerboard_after": 0},
    "marscf flow, learned dequantisation": {},
    "residual-flow, learned dequantisation": {"levels": 0},
}
every = pytest.mark.parametrize("name", MODELS)


def model_of(name, shape=(1, 2, 2), grey_levels=3, size=0.05):
    return tiny(name, shape, grey_levels, size, **MODELS[name])


@every
def test_the_dequantisers_density_is_its_flows(name):
    model = model_of(name, (2, 4, 4), 5, size=0.1)
    x, eps = images(model, 1), noise(model, 1).double()
    y = model.to_continuous(x)
    u, log_q = model.dequantiser(y, eps)
    assert u.min() > 0 and u.max() < 1
    jacobian = torch.autograd.functional.jacobian(lambda e: model.dequantiser(y, e)[0], eps)
    gaussian = -0.5 * (eps.square() + math.log(2 * math.pi)).sum()
    expected = gaussian - torch.linalg.slogdet(jacobian.reshape(32, 32))[1]
    torch.testing.assert_close(log_q[0], expected, rtol=1e-9, atol=1e-9)


@every
def test_the_noise_depends_on_the_image(name):
    model = model_of(name)
    x = images(model, 2)
    eps = noise(model, 1).expand(2, -1, -1, -1).double()
    u, _ = model.dequantiser(model.to_continuous(x), eps)
    assert not torch.allclose(u[0], u[1])


@every
def test_the_bound_and_the_importance_weighted_estimate(name):
    """The mean of `exp log_prob` is the probability, the integral over the cell; `log_prob`'s is below."""
    model = model_of(name)
    x = images(model, 2)
    points, draws = 12, 20_000
    axis = (torch.arange(points, dtype=torch.float64) + 0.5) / points
    cell = torch.cartesian_prod(*[axis] * 4).view(-1, 1, 2, 2)
    for image in x:
        with torch.no_grad():
            many = image.expand(len(cell), -1, -1, -1)
            density = model.log_density(model.to_continuous(many, cell)).exp().mean().item()
            exact = density / model.grey_levels**model.dims
            log_prob = model.log_prob(image.expand(draws, -1, -1, -1), noise(model, draws))
        weights = log_prob.exp()
        error = weights.std().item() / math.sqrt(draws)
        assert abs(weights.mean().item() - exact) < 4 * error and error < 0.2 * exact
        assert log_prob.mean().item() < math.log(exact)


@every
def test_encoding_with_the_dequantisers_noise(name):
    model = model_of(name, (1, 4, 4), 17)
    x, eps = images(model, 3), noise(model, 3)
    with torch.no_grad():
        y, _ = model.dequantise(x, eps)
        torch.testing.assert_close(model.encode(x, eps), model.encode_continuous(y)[0])
    assert torch.equal(model.to_discrete(y), x)
