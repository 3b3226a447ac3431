import pytest
import torch

from marscf.priors.gaussian import GaussianPrior
from marscf.priors.mar import MARPrior


def priors(context, sides=(2, 3)):
    yield GaussianPrior(4, context)
    for level in (1, 2, 3, 5):
        yield MARPrior(context, lstm_channels=3, lstm_layers=2, level=level, sides=sides)


@pytest.mark.parametrize("context", [None, 3])
@pytest.mark.parametrize("kind", range(5))
def test_log_prob_is_that_of_the_samples(context, kind):
    """Sampling is an affine map of the noise; its Jacobian gives the density of what it draws."""
    torch.manual_seed(0)
    prior = list(priors(context))[kind].double()
    with torch.no_grad():
        for parameter in prior.parameters():
            parameter.add_(0.2 * torch.randn_like(parameter))
    seen = None if context is None else torch.randn(1, 3, 2, 3, dtype=torch.float64)
    noise = torch.randn(1, 4, 2, 3, dtype=torch.float64)
    jacobian = torch.autograd.functional.jacobian(lambda e: prior.sample(seen, e), noise).view(24, 24)
    normal = torch.distributions.Normal(0, 1).log_prob(noise).sum()
    expected = normal - torch.linalg.slogdet(jacobian)[1]
    torch.testing.assert_close(prior.log_prob(prior.sample(seen, noise), seen)[0], expected)


@pytest.mark.parametrize("kind", range(5))
def test_batch_of_one_and_odd_batches(kind):
    torch.manual_seed(0)
    prior = list(priors(3, (2, 2)))[kind]
    z, context = torch.randn(5, 4, 2, 2), torch.randn(5, 3, 2, 2)
    together = prior.log_prob(z, context)
    torch.testing.assert_close(together[:1], prior.log_prob(z[:1], context[:1]))
    torch.testing.assert_close(together[2:], prior.log_prob(z[2:], context[2:]))
    torch.testing.assert_close(prior.sample(context, z)[:1], prior.sample(context[:1], z[:1]))


def test_gaussian_prior_starts_standard():
    z, context = torch.randn(2, 4, 2, 2), torch.randn(2, 3, 2, 2)
    for prior in (GaussianPrior(4), GaussianPrior(4, 3)):
        assert torch.equal(prior.sample(None if prior.net is None else context, z), z)


@pytest.mark.parametrize("context", [None, 3])
def test_lattices_are_the_dilated_stack(context):
    torch.manual_seed(0)
    sizes = {"lstm_channels": 3, "lstm_layers": 2, "level": 1}
    apart = MARPrior(context, **sizes, sides=(6, 4)).double()
    whole = MARPrior(context, **sizes, sides=(5, 5)).double()
    assert (apart.lattice, whole.lattice) == (2, 1)
    whole.load_state_dict(apart.state_dict())
    z = torch.randn(2, 4, 6, 4, dtype=torch.float64)
    seen = None if context is None else torch.randn(2, 3, 6, 4, dtype=torch.float64)
    torch.testing.assert_close(apart.log_prob(z, seen), whole.log_prob(z, seen))
    torch.testing.assert_close(apart.sample(seen, z), whole.sample(seen, z))
