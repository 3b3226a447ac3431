"""Our optimisers against torch's, step by step."""

import pytest
import torch

from marscf.training.optimizers import OPTIMIZERS, Adam, Adamax


@pytest.mark.parametrize("betas", [(0.9, 0.999), (0.8, 0.99)])
@pytest.mark.parametrize("weight_decay", [0.0, 0.1])
@pytest.mark.parametrize(("own", "other"), [(Adamax, torch.optim.Adamax), (Adam, torch.optim.Adam)])
def test_equals_torch(own, other, weight_decay, betas):
    torch.manual_seed(0)
    ours = [torch.randn(3, 4, requires_grad=True), torch.randn(5, requires_grad=True)]
    theirs = [p.detach().clone().requires_grad_() for p in ours]
    optimizer = own(ours, betas, weight_decay=weight_decay)
    reference = other(theirs, lr=0.0, betas=betas, weight_decay=weight_decay)
    for step in range(20):
        rate = 0.01 * (step + 1)
        reference.param_groups[0]["lr"] = rate
        for mine, its in zip(ours, theirs, strict=True):
            mine.grad = torch.randn_like(mine)
            its.grad = mine.grad.clone()
        optimizer.step(rate)
        reference.step()
        for mine, its in zip(ours, theirs, strict=True):
            torch.testing.assert_close(mine, its, rtol=1e-6, atol=1e-7)


@pytest.mark.parametrize("kind", list(OPTIMIZERS.values()))
def test_goes_on_from_its_state(kind):
    def steps(optimizer, parameter, n):
        for _ in range(n):
            parameter.grad = torch.cos(parameter.detach() + optimizer.steps)
            optimizer.step(0.1)

    whole, half = (torch.ones(4, requires_grad=True) for _ in range(2))
    steps(kind([whole]), whole, 10)
    first = kind([half])
    steps(first, half, 5)
    second = kind([half])
    second.load_state_dict(first.state_dict())
    steps(second, half, 5)
    assert torch.equal(whole, half)
