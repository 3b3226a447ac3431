import pytest
import torch

from marscf.nets.lipschitz import LipschitzConv2d, lip_swish, lip_swish_slope


@pytest.mark.parametrize("beta", [0.01, 0.5, 1.0, 5.0, 100.0])
def test_lip_swish_slope(beta):
    x = torch.linspace(-50, 50, 200_001, dtype=torch.float64, requires_grad=True)
    beta = torch.tensor(beta, dtype=torch.float64)
    (slope,) = torch.autograd.grad(lip_swish(x, beta).sum(), x)
    assert slope.abs().max() < 1
    torch.testing.assert_close(lip_swish_slope(x, beta).detach(), slope)


@pytest.mark.parametrize("kernel, size", [(3, (4, 6)), (3, (1, 1)), (5, (3, 3)), (1, (4, 4))])
@pytest.mark.parametrize("scale", [0.01, 5.0])
def test_norm_is_the_operators(kernel, size, scale):
    torch.manual_seed(0)
    conv = LipschitzConv2d(3, 4, kernel, size, 0.9).double().eval()
    with torch.no_grad():
        conv.weight.mul_(scale / conv.weight.std())
    basis = torch.eye(3 * size[0] * size[1], dtype=torch.float64).view(-1, 3, *size)

    def norm(weight: torch.Tensor) -> torch.Tensor:
        columns = torch.nn.functional.conv2d(basis, weight, padding=conv.padding).flatten(1)
        return torch.linalg.matrix_norm(columns, 2)

    before = norm(conv.weight)
    torch.testing.assert_close(conv.norm(), before, rtol=1e-4, atol=0)
    after = norm(conv.tensors()[0])
    torch.testing.assert_close(after, before.clamp(max=0.9), rtol=1e-4, atol=0)  # never scaled up
    conv.train().follow(200)
    torch.testing.assert_close(conv.norm(), before, rtol=5e-3, atol=0)


def test_converged_vector_follows_the_weights():
    torch.manual_seed(0)
    conv = LipschitzConv2d(2, 3, 3, (4, 4), 0.9).eval()
    with torch.no_grad():
        first = conv.norm()
        conv.weight.mul_(3)
        torch.testing.assert_close(conv.norm(), 3 * first, rtol=1e-4, atol=0)
        conv.load_state_dict({**conv.state_dict(), "weight": conv.weight / 3})
        torch.testing.assert_close(conv.norm(), first, rtol=1e-4, atol=0)
