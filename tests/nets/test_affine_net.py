import torch
from torch.nn import functional

from marscf.nets.affine_net import AffineNet
from marscf.studies.weights import fill_zeros


def test_the_layers_one_after_the_other():
    torch.manual_seed(0)
    net, x = AffineNet(3, 8, 6), torch.randn(4, 3, 6, 5)
    fill_zeros(net, 0.1)
    net.train()(x)
    h = x
    for layer in (net.first, net.second):
        h = functional.conv2d(h, layer.weight, padding="same")
        h = (h + layer.norm.bias) * torch.exp(layer.norm.log_scale)
        variance, mean = torch.var_mean(h, (0, 2, 3), correction=0)  # the batch initialised ActNorm
        torch.testing.assert_close(variance, torch.ones(8), rtol=0.01, atol=0)
        torch.testing.assert_close(mean, torch.zeros(8))
        h = functional.relu(h)
    h = functional.conv2d(h, net.last.weight, net.last.bias, padding=1) * torch.exp(3 * net.last.log_scale)
    torch.testing.assert_close(net(x), h)
    assert torch.equal(AffineNet(3, 8, 6)(x), torch.zeros(4, 6, 6, 5))
