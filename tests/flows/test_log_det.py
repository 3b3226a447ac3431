"""The log-determinant of a residual block: value and gradient, against automatic differentiation."""

import pytest
import torch

from marscf.errors import EvaluationError
from marscf.flows.log_det import Geometric, Poisson, ResidualStep, Roulette, WholeJacobian
from marscf.flows.residual import ResidualBlock, fixed_point
from marscf.nets.lipschitz import FullyConnectedNet, LipschitzNet

DIMS = 8


@pytest.fixture(params=["convolutions", "fully connected"])
def net(request) -> LipschitzNet:
    torch.manual_seed(0)
    if request.param == "convolutions":
        net = LipschitzNet(2, 6, (2, 2), 0.9)
    else:
        net = FullyConnectedNet((2, 2, 2), 6, 0.9)
    net = net.double().eval()
    with torch.no_grad():
        for parameter in net.parameters():
            parameter.add_(torch.randn_like(parameter))
    return net


@pytest.fixture
def x() -> torch.Tensor:
    return torch.randn(1, 2, 2, 2, generator=torch.Generator().manual_seed(5), dtype=torch.float64)


def truth(net: LipschitzNet, x: torch.Tensor) -> tuple[torch.Tensor, list[torch.Tensor]]:
    """The log-determinant and its gradient in x and in every parameter, by autograd throughout."""
    x = x.clone().requires_grad_()
    jacobian = torch.autograd.functional.jacobian(net, x, create_graph=True).reshape(DIMS, DIMS)
    log_det = torch.linalg.slogdet(torch.eye(DIMS, dtype=x.dtype) + jacobian)[1]
    return log_det.detach(), list(torch.autograd.grad(log_det, [x, *net.parameters()], allow_unused=True))


def estimates(net: LipschitzNet, x: torch.Tensor, exact_terms: int, n: int, seed: int):
    """`n` independent estimates, and the gradient of their mean."""
    generator = torch.Generator().manual_seed(seed)
    copies = x.expand(n, -1, -1, -1).clone().requires_grad_()
    signs = torch.randint(2, (1, *copies.shape), generator=generator).double() * 2 - 1
    tails = torch.empty(1, n).geometric_(0.5, generator=generator).long()
    _, log_det = ResidualStep.apply(
        net, Roulette(signs, tails, exact_terms, Geometric(0.5)), True, copies, *net.tensors()
    )
    grads = torch.autograd.grad(log_det.mean(), [copies, *net.parameters()], allow_unused=True)
    return log_det.detach(), [grads[0].sum(0, keepdim=True), *grads[1:]]


@pytest.mark.parametrize("law", [Geometric(0.5), Geometric(0.2), Poisson(2.0)])
def test_lengths_have_the_chances_that_their_law_states(law):
    uniform = (torch.arange(100_000, dtype=torch.float64) + 0.5) / 100_000
    lengths = law.lengths(uniform)
    for terms in range(12):
        assert (lengths >= terms).double().mean().item() == pytest.approx(law.chance(terms), abs=2e-5)


def test_products_by_hand(net, x):
    tensors = net.tensors()
    g, vjp = net.linearise(x, tensors)
    jacobian = torch.autograd.functional.jacobian(net, x).reshape(DIMS, DIMS)
    v = torch.randn(5, *x.shape, dtype=x.dtype)
    torch.testing.assert_close(g, net(x))
    torch.testing.assert_close(vjp(v[0]).flatten(), v[0].flatten() @ jacobian)
    again, tangents = net.with_tangents(x, v, tensors)
    torch.testing.assert_close(again, g)
    torch.testing.assert_close(tangents.flatten(1), v.flatten(1) @ jacobian.T)


def test_whole_jacobian(net, x):
    log_det, grads = truth(net, x)
    leaf = x.clone().requires_grad_()
    _, value = ResidualStep.apply(net, WholeJacobian(), True, leaf, *net.tensors())
    torch.testing.assert_close(value[0].detach(), log_det, rtol=1e-10, atol=1e-10)
    own = torch.autograd.grad(value.sum(), [leaf, *net.parameters()], allow_unused=True)
    for ours, right in zip(own, grads, strict=True):
        torch.testing.assert_close(
            torch.zeros(()) if ours is None else ours,
            torch.zeros_like(ours) if right is None else right,
            rtol=1e-8,
            atol=1e-8,
        )


@pytest.mark.parametrize("exact_terms", [1, 2, 6])
def test_roulette_is_unbiased(net, x, exact_terms):
    log_det, _ = truth(net, x)
    drawn, _ = estimates(net, x, exact_terms, 8_000, seed=exact_terms)
    error = drawn.std() / len(drawn) ** 0.5
    assert error < 0.05 and abs(drawn.mean() - log_det) < 4 * error


@pytest.mark.parametrize("exact_terms", [1, 2])
def test_its_gradient_is_unbiased(net, x, exact_terms):
    """Every tensor's gradient along a fixed random direction: within 4.5 standard errors over 40 batches."""
    _, grads = truth(net, x)
    batches = [estimates(net, x, exact_terms, 500, seed)[1] for seed in range(40)]
    checked = 0
    for index, right in enumerate(grads):
        if right is None:
            continue
        direction = torch.randn(right.shape, generator=torch.Generator().manual_seed(index)).double()
        drawn = torch.stack([(batch[index] * direction).sum() for batch in batches])
        error = drawn.std() / len(drawn) ** 0.5
        assert abs(drawn.mean() - (right * direction).sum()) < 4.5 * error + 1e-12
        checked += 1
    assert checked >= 6


def test_each_images_gradient_has_its_own_weight(net, x):
    """The upstream gradient may differ from image to image."""
    leaf = torch.cat((x, 2 * x)).requires_grad_()
    _, log_det = ResidualStep.apply(net, WholeJacobian(), True, leaf, *net.tensors())
    (both,) = torch.autograd.grad((log_det * torch.tensor([1.0, -3.0])).sum(), leaf)
    for i, weight in enumerate((1, -3)):
        torch.testing.assert_close(both[i : i + 1], weight * truth(net, leaf[i : i + 1].detach())[1][0])


def test_inverse_and_its_gradients(net, x):
    block = ResidualBlock(net)
    z, _ = block(x)
    leaf = z.detach().requires_grad_()
    back = block.inverse(leaf)
    torch.testing.assert_close(back, x, atol=1e-9, rtol=0)
    inverse = torch.autograd.functional.jacobian(block.inverse, leaf.detach()).reshape(DIMS, DIMS)
    forward = torch.autograd.functional.jacobian(lambda x: block(x)[0], x).reshape(DIMS, DIMS)
    torch.testing.assert_close(inverse @ forward, torch.eye(DIMS, dtype=x.dtype), atol=1e-8, rtol=0)
    # inverse(forward(x)) is x whatever the parameters, so that the two gradients cancel
    loss = (block.inverse(block(x)[0]) * torch.randn_like(x)).sum()
    for grad in torch.autograd.grad(loss, list(net.parameters()), allow_unused=True):
        assert grad is None or grad.abs().max() < 1e-7


@pytest.mark.parametrize("step", [lambda x: 2 * x + 1, lambda x: x + 1, lambda x: x / 0])
def test_what_does_not_settle_is_an_error(step):
    with pytest.raises(EvaluationError, match="still moves"):
        fixed_point(step, torch.zeros(1, 1, 2, 2), 0.9)
