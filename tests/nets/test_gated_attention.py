import pytest
import torch

from marscf.errors import ConfigError
from marscf.nets.gated_attention import GatedAttention, GatedAttentionNet, GatedConv, sinusoids
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
    code = sinusoids(12, 8, x.device)
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


def test_learned_positions_are_learned_and_used():
    torch.manual_seed(0)
    net = GatedAttentionNet(2, 8, 6, blocks=1, heads=2, size=(6, 4)).eval()
    assert net.positions.shape == (24, 8)
    x = torch.randn(1, 2, 6, 4)
    before = net(x)
    before.sum().backward()
    assert net.positions.grad.any(1).all()
    with torch.no_grad():
        net.positions.copy_(net.positions.flip(0))
    assert not torch.allclose(net(x), before)


@pytest.mark.parametrize("dropped", ["channels", "values"])
def test_what_dropout_drops(dropped):
    torch.manual_seed(0)
    conv = GatedConv(64, 0.5, dropped=dropped).train()
    kept = []
    conv.dropout.register_forward_hook(lambda module, inputs, output: kept.append(output != 0))
    conv(torch.randn(2, 64, 4, 4))
    per_channel = kept[0].float().mean((2, 3))
    share = per_channel.mean().item()
    assert 0.35 < share < 0.65
    # A channel's values go together, or each by itself.
    assert (per_channel.var() > 0.2) == (dropped == "channels")


def test_dropped_values_of_attention_are_its_results():
    torch.manual_seed(0)
    attention = GatedAttention(8, 2, 0.5, "values").train()
    code = sinusoids(64, 8, torch.device("cpu"))
    seen = []
    attention.gate.register_forward_pre_hook(lambda module, inputs: seen.append(inputs[0]))
    x = torch.randn(2, 8, 8, 8)
    attention(x, code), attention.eval()(x, code)
    dropped, whole = seen
    kept = dropped != 0
    assert 0.4 < kept.float().mean() < 0.6
    torch.testing.assert_close(dropped[kept], 2 * whole[kept])


def test_a_concat_elu_before_the_exit():
    torch.manual_seed(0)
    net = GatedAttentionNet(2, 8, 6, blocks=1, heads=2, exit_elu=True)
    seen = []
    net.exit.register_forward_pre_hook(lambda module, inputs: seen.append(inputs[0]))
    net(torch.randn(2, 2, 4, 4))
    assert seen[0].shape == (2, 16, 4, 4) and seen[0].min() > -1 and seen[0].max() > 1
