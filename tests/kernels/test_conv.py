"""Weights that are folded and packed for inference: kept while they are as they were."""

import copy

import pytest
import torch

from marscf.kernels import cached, conv
from marscf.nets.affine_net import AffineNet
from marscf.studies.weights import fill_zeros


@pytest.fixture
def net():
    torch.manual_seed(0)
    net = AffineNet(3, 16, 6)
    fill_zeros(net, 0.1)
    net.train()(torch.randn(4, 3, 8, 8))  # initialises its ActNorm
    return net.eval()


@pytest.fixture(params=["packed", "folded"])
def way(request, monkeypatch):
    """Both ways without gradients; the second is what a torch without oneDNN has."""
    if request.param == "folded":
        monkeypatch.setattr(conv, "onednn_convolution", lambda: None)
    elif conv.onednn_convolution() is None:
        pytest.skip("this torch has no oneDNN")


def same_without_gradients(net, x, **tolerance):
    expected = net(x)
    assert expected.requires_grad
    with torch.no_grad():
        for _ in range(2):  # the second time with what the first one kept
            torch.testing.assert_close(net(x), expected.detach(), **tolerance)


@pytest.mark.usefixtures("way")
@pytest.mark.parametrize("count", [0, 1, 5, 20])
def test_same_for_any_number_and_layout_of_images(net, count):
    x = torch.randn(count, 3, 8, 6)
    same_without_gradients(net, x)
    same_without_gradients(net, x.contiguous(memory_format=torch.channels_last))
    same_without_gradients(net, torch.randn(count, 6, 8, 6)[:, 3:])
    same_without_gradients(net, x[:, :, :1, :1])


@pytest.mark.usefixtures("way")
def test_follows_its_weights(net):
    x = torch.randn(2, 3, 8, 8)
    same_without_gradients(net, x)
    before = net(x).detach()
    with torch.no_grad():
        for parameter in net.parameters():
            parameter += 0.1 * torch.randn_like(parameter)
    same_without_gradients(net, x)
    assert not torch.allclose(net(x), before)
    twin = copy.deepcopy(net)
    twin.load_state_dict({name: 2 * value for name, value in net.state_dict().items()})
    same_without_gradients(twin, x)
    for parameter in net.parameters():
        parameter.data.mul_(0.5)  # autograd does not see it
    cached.forget()
    same_without_gradients(net, x)


@pytest.mark.usefixtures("way")
def test_other_precisions(net):
    x = torch.randn(2, 3, 8, 8)
    with torch.no_grad():
        single = net(x)
        with torch.autocast("cpu", torch.bfloat16):
            low = net(x)
        assert low.dtype == torch.bfloat16
        assert (low.float() - single).norm() < 0.02 * single.norm()
    same_without_gradients(net.double(), x.double(), rtol=1e-12, atol=1e-12)


@pytest.mark.usefixtures("way")
def test_weights_are_folded_once(net, monkeypatch):
    calls = []
    fold = conv._fold
    monkeypatch.setattr(conv, "_fold", lambda *args: calls.append(1) or fold(*args))
    with torch.no_grad():
        for _ in range(3):
            net(torch.randn(2, 3, 8, 8))
    assert len(calls) == 3  # each convolution's
    net(torch.randn(2, 3, 8, 8)).sum().backward()
    assert len(calls) == 6 and all(p.grad is not None for p in net.parameters())
