import pytest
import torch

from marscf.errors import ConfigError
from marscf.nets.gated_attention import GatedAttention, GatedAttentionNet, position_code
from marscf.nets.weight_norm import WeightNormConv2d


def test_weight_norm_is_torchs():
    torch.manual_seed(0)
    plain = torch.nn.Conv2d(3, 5, 3, padding=1)
    normed = torch.nn.utils.parametrizations.weight_norm(plain)
    ours = WeightNormConv2d(3, 5, 3)
    with torch.no_grad():
        normed.parametrizations.weight.original0.mul_(1.7)
        ours.gain.copy_(normed.parametrizations.weight.original0)
        ours.direction.copy_(normed.parametrizations.weight.original1)
        ours.bias.copy_(normed.bias)
    x = torch.randn(2, 3, 4, 5)
    torch.testing.assert_close(ours(x), normed(x))
    with torch.no_grad():
        torch.testing.assert_close(ours.eval()(x), normed(x))


def test_attention_sees_every_pixel_and_its_place():
    torch.manual_seed(0)
    attention = GatedAttention(8, 2, 0.0).double().eval()
    x = torch.randn(1, 3, 4, 8, dtype=torch.float64, requires_grad=True)
    code = position_code(12, 8, x.device)
    (gradient,) = torch.autograd.grad(attention(x, code)[0, 0, 0].sum(), x)
    assert (gradient.abs().sum(3) > 0).all()
    turned = attention(x.flip(1, 2), code).flip(1, 2)
    assert not torch.allclose(turned, attention(x, code))


def test_conditioning_image_reaches_the_output():
    torch.manual_seed(0)
    net = GatedAttentionNet(2, 8, 6, blocks=2, heads=2, aux_channels=3)
    x, aux = torch.randn(2, 2, 4, 4), torch.randn(2, 3, 4, 4)
    out = net(x, aux)
    assert out.shape == (2, 6, 4, 4)
    assert not torch.allclose(net(x, aux + 1), out)


def test_heads_must_divide_channels():
    with pytest.raises(ConfigError, match="3 attention heads do not divide channels: 8"):
        GatedAttentionNet(2, 8, 6, blocks=1, heads=3)
