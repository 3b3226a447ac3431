"""MyFlow is a flow: it can be inverted, its log-determinant is the Jacobian's, it trains and it samples."""

import torch
from torch import nn

from my_flow import MyCoupling, MyFlow, MyPrior


def small() -> MyFlow:
    """A small model in float64, its parameters off their starting values."""
    torch.manual_seed(0)
    model = MyFlow((1, 4, 4), 17, levels=1, steps=2, channels=4).double().eval()
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.add_(0.1 * torch.randn_like(parameter))
    return model


def images(n: int) -> torch.Tensor:
    """Images of noise."""
    return torch.randint(17, (n, 1, 4, 4), dtype=torch.uint8)


def test_it_gives_images_back() -> None:
    model, x = small(), images(5)
    assert torch.equal(model.to_discrete(model.decode(model.encode(x))), x)


def test_its_log_determinant_is_the_jacobians() -> None:
    model = small()
    y = torch.rand(1, 1, 4, 4, dtype=torch.float64)
    jacobian = torch.autograd.functional.jacobian(lambda y: model.encode_continuous(y)[0][0].flatten(), y)
    expected = torch.linalg.slogdet(jacobian.reshape(16, 16)).logabsdet
    torch.testing.assert_close(model.encode_continuous(y)[1][0], expected)


def test_the_coupling_can_be_inverted() -> None:
    coupling = MyCoupling(nn.Identity())
    x, params = torch.randn(3, 2, 4, 4), torch.randn(3, 4, 4, 4)
    y, _ = coupling.elementwise(x, params)
    torch.testing.assert_close(coupling.elementwise_inverse(y, params), x)


def test_the_prior_is_a_density() -> None:
    z = torch.linspace(-40, 40, 20001, dtype=torch.float64)
    density = MyPrior(1).double().log_prob(z.view(-1, 1, 1, 1)).exp()
    torch.testing.assert_close(torch.trapezoid(density, z), torch.tensor(1.0, dtype=torch.float64))


def test_samples_of_the_prior_have_its_density() -> None:
    prior = MyPrior(1)
    z = prior.sample(None, torch.randn(100_000, 1, 1, 1, generator=torch.Generator().manual_seed(0)))
    expected = torch.tensor([0.1, 0.5, 0.9]).logit()  # the quantiles of a logistic distribution
    torch.testing.assert_close(
        z.flatten().quantile(torch.tensor([0.1, 0.5, 0.9])), expected, atol=0.03, rtol=0
    )


def test_every_parameter_gets_a_gradient() -> None:
    model, x = small().train(), images(8)
    model.training_loss(x, model.draw_noise(8)).sum().backward()
    assert all(parameter.grad is not None for parameter in model.parameters())


def test_it_draws_images() -> None:
    drawn = small().sample(3, generator=torch.Generator().manual_seed(0))
    assert drawn.shape == (3, 1, 4, 4) and drawn.dtype == torch.uint8 and drawn.max() < 17
