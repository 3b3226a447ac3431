"""Our Adamax against torch's, step by step."""

import pytest
import torch

from marscf.training.adamax import Adamax


@pytest.mark.parametrize("weight_decay", [0.0, 0.1])
def test_equals_torch(weight_decay):
    torch.manual_seed(0)
    ours = [torch.randn(3, 4, requires_grad=True), torch.randn(5, requires_grad=True)]
    theirs = [p.detach().clone().requires_grad_() for p in ours]
    optimizer = Adamax(ours, weight_decay=weight_decay)
    reference = torch.optim.Adamax(theirs, lr=0.0, weight_decay=weight_decay)
    for step in range(20):
        rate = 0.01 * (step + 1)
        reference.param_groups[0]["lr"] = rate
        for mine, other in zip(ours, theirs, strict=True):
            mine.grad = torch.randn_like(mine)
            other.grad = mine.grad.clone()
        optimizer.step(rate)
        reference.step()
        for mine, other in zip(ours, theirs, strict=True):
            torch.testing.assert_close(mine, other, rtol=1e-6, atol=1e-7)


def test_goes_on_from_its_state():
    def steps(optimizer, parameter, n):
        for _ in range(n):
            parameter.grad = torch.cos(parameter.detach() + optimizer.steps)
            optimizer.step(0.1)

    whole, half = (torch.ones(4, requires_grad=True) for _ in range(2))
    steps(Adamax([whole]), whole, 10)
    first = Adamax([half])
    steps(first, half, 5)
    second = Adamax([half])
    second.load_state_dict(first.state_dict())
    steps(second, half, 5)
    assert torch.equal(whole, half)
