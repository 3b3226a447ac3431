"""One loop over every bijection: what its contract promises, against automatic differentiation."""

import copy

import pytest
import torch
from cases import BIJECTIONS, made
from hypothesis import given, settings
from hypothesis import strategies as st

every = pytest.mark.parametrize("name", BIJECTIONS)
shapes = st.tuples(
    st.integers(1, 3), st.sampled_from([2, 4]), st.sampled_from([2, 4]), st.sampled_from([2, 4])
).filter(lambda shape: shape[0] * shape[1] * shape[2] * shape[3] <= 96)
few = settings(max_examples=8, deadline=None, derandomize=True)


def images(*shape: int) -> torch.Tensor:
    torch.manual_seed(1)
    return torch.rand(*shape, dtype=torch.float64)


@every
@few
@given(shape=shapes)
def test_log_det_is_the_jacobians(name, shape):
    bijection, x = made(name, *shape[1:]), images(*shape)
    z, log_det = bijection(x)
    assert log_det.shape == shape[:1]
    assert z.numel() == x.numel()
    vectorize = "Residual" not in name  # whose backward pass differentiates, which no vmap goes through
    jacobian = torch.autograd.functional.jacobian(
        lambda x: bijection(x)[0].flatten(1), x, vectorize=vectorize
    )
    jacobian = jacobian.flatten(3).transpose(1, 2)  # image out, image in, pixel out, pixel in
    for i in range(len(x)):
        torch.testing.assert_close(torch.linalg.slogdet(jacobian[i, i])[1], log_det[i], atol=1e-9, rtol=1e-9)
        for j in range(len(x)):
            assert i == j or not jacobian[i, j].any(), "an image depends on another of its batch"


@every
@few
@given(shape=shapes)
def test_inverse(name, shape):
    bijection, x = made(name, *shape[1:]), images(*shape)
    z = bijection(x)[0]
    torch.testing.assert_close(bijection.inverse(z), x, atol=1e-9, rtol=1e-9)
    noise = torch.randn_like(z)
    back = bijection.inverse(noise)
    assert back.shape == x.shape
    torch.testing.assert_close(bijection(back)[0], noise, atol=1e-8, rtol=1e-8)


@every
def test_inverse_has_the_inverse_jacobian(name):
    bijection, x = made(name, 4, 2, 2), images(1, 4, 2, 2)
    z = bijection(x)[0].detach()
    forward = torch.autograd.functional.jacobian(lambda x: bijection(x)[0], x).reshape(16, 16)
    inverse = torch.autograd.functional.jacobian(bijection.inverse, z).reshape(16, 16)
    torch.testing.assert_close(forward @ inverse, torch.eye(16, dtype=x.dtype), atol=1e-8, rtol=0)


@every
def test_gradients_reach_every_parameter(name):
    bijection, x = made(name, 4, 4, 4), images(3, 4, 4, 4).requires_grad_()
    z, log_det = bijection(x)
    (z.square().sum() + log_det.sum()).backward()
    for parameter_name, parameter in bijection.named_parameters():
        assert parameter.grad is not None and parameter.grad.any(), parameter_name


@every
def test_inverse_is_differentiable_in_the_parameters(name):
    """`inverse(forward(x))` is x whatever the parameters, so the two gradients cancel."""
    bijection, x = made(name, 4, 4, 4), images(2, 4, 4, 4)
    loss = (bijection.inverse(bijection(x)[0]) * torch.randn_like(x)).sum()
    if not loss.requires_grad:
        pytest.skip("has no parameters")
    loss.backward()
    for parameter_name, parameter in bijection.named_parameters():
        assert parameter.grad.abs().max() < 1e-7, parameter_name


@every
@pytest.mark.parametrize("batch", [1, 5])
def test_batches(name, batch):
    bijection, x = made(name, 4, 4, 4), images(7, 4, 4, 4)
    z, log_det = bijection(x)
    part, part_log_det = bijection(x[:batch])
    torch.testing.assert_close(part, z[:batch], atol=1e-10, rtol=1e-10)
    torch.testing.assert_close(part_log_det, log_det[:batch], atol=1e-10, rtol=1e-10)


@every
def test_non_contiguous_input(name):
    bijection, x = made(name, 4, 4, 4), images(3, 4, 4, 4)
    z, log_det = bijection(x)
    views = {
        "transposed": x.transpose(2, 3).contiguous().transpose(2, 3),
        "channels last": x.contiguous(memory_format=torch.channels_last),
        "strided": torch.stack((x, x), dim=-1).flatten(3)[..., ::2],
    }
    for kind, view in views.items():
        assert torch.equal(view, x) and not view.is_contiguous(), kind
        other, other_log_det = bijection(view)
        torch.testing.assert_close(other, z, atol=1e-10, rtol=1e-10)
        torch.testing.assert_close(other_log_det, log_det, atol=1e-10, rtol=1e-10)
        torch.testing.assert_close(bijection.inverse(other), x, atol=1e-9, rtol=1e-9)


@every
def test_state_dict_carries_everything(name):
    bijection, x = made(name, 4, 4, 4), images(3, 4, 4, 4)
    with torch.no_grad():
        bijection.inverse(bijection(x)[0])  # fills what is kept between calls
        other = made(name, 4, 4, 4, seed=2)
        other.inverse(other(x)[0])
        other.load_state_dict(copy.deepcopy(bijection.state_dict()))
        assert all(map(torch.equal, other(x), bijection(x)))
        z = bijection(x)[0]
        assert torch.equal(other.inverse(z), bijection.inverse(z))


@every
def test_nothing_stale_is_kept(name):
    """Folded weights and inverses follow the parameters, however those are changed."""
    bijection, x = made(name, 4, 4, 4), images(2, 4, 4, 4)
    with torch.no_grad():
        bijection.inverse(bijection(x)[0])
        for parameter in bijection.parameters():
            parameter.mul_(1.1)
        z = bijection(x)[0]
        torch.testing.assert_close(bijection.inverse(z), x, atol=1e-8, rtol=1e-8)
    with_gradients = bijection(x)[0]
    torch.testing.assert_close(with_gradients.detach(), z, atol=1e-12, rtol=1e-12)
