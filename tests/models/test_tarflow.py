"""TarFlow's own: noise of training, guidance and denoising of samples."""

import math

import pytest
import torch
from baselines import TARFLOW
from torch.nn import functional

from marscf.counting import counted
from marscf.errors import ConfigError
from marscf.flows.autoregressive import CausalAffine, Guidance
from marscf.models.tarflow import TarFlow
from marscf.nets.causal_transformer import CausalTransformer
from marscf.studies.weights import fill_zeros

SHAPE = (1, 4, 4)


def tarflow(**options):
    torch.manual_seed(0)
    model = TarFlow(SHAPE, 17, **{**TARFLOW, **options})
    fill_zeros(model, 0.3)
    return model.double().eval()


def blurred(net, x, temperature):
    """The network's output at all positions, its attention written out, the logits divided."""
    h = net.entry(x[:, :-1]) + net.positions[:-1]
    hidden = torch.ones(h.shape[1], h.shape[1], dtype=torch.bool).triu(1)
    for layer in net.layers:
        q, k, v = layer._project(h)
        logits = (q @ k.mT / math.sqrt(q.shape[-1]) / temperature).masked_fill(hidden, -math.inf)
        h = layer._close(h, logits.softmax(-1) @ v)
    return functional.pad(net.exit(net.exit_norm(h)), (0, 0, 1, 0))


@pytest.mark.parametrize("backwards", [False, True])
def test_guidance_moves_each_step_away_from_blurred_attention(backwards):
    torch.manual_seed(1)
    net = CausalTransformer(2, 4, 9, channels=8, layers=2, heads=2).double()
    fill_zeros(net, 0.3)
    block, z = CausalAffine(net, backwards), torch.randn(3, 2, 3, 3, dtype=torch.double)
    with torch.no_grad(), counted() as steps:
        found = block.inverse(z, Guidance(0.8, 3.0))
    assert steps.total == 9  # both are drawn in the same steps
    sequence = z.flatten(2).mT.flip(1) if backwards else z.flatten(2).mT
    x = torch.zeros_like(sequence)
    with torch.no_grad():
        for t in range(9):
            sharp, flat = blurred(net, x, 1.0)[:, t], blurred(net, x, 3.0)[:, t]
            mean, log_scale = (sharp + 0.8 * t / 8 * (sharp - flat)).chunk(2, dim=1)
            x[:, t] = sequence[:, t] * log_scale.exp() + mean
    expected = (x.flip(1) if backwards else x).mT.reshape(z.shape)
    torch.testing.assert_close(found, expected)
    with torch.no_grad():
        plain = block.inverse(z)
        assert not torch.allclose(found, plain, atol=1e-3)
        torch.testing.assert_close(block.inverse(z, Guidance(0.8, 1.0)), plain)
        torch.testing.assert_close(block(plain)[0], z)


def test_denoising_is_a_step_along_the_score():
    model = tarflow(gaussian_noise=0.2, denoise=True)
    eps = model.draw_eps(2, generator=torch.Generator().manual_seed(0))
    with torch.no_grad():
        found = model.decode_noise(eps)
        y = model.decode(eps)
        score, h = torch.zeros_like(y), 1e-5
        for place in range(y[0].numel()):
            moved = torch.zeros_like(y).flatten(1)
            moved[:, place] = h
            moved = moved.view_as(y)
            slope = (model.log_density(y + moved) - model.log_density(y - moved)) / (2 * h)
            score.flatten(1)[:, place] = slope
    torch.testing.assert_close(found, y + 0.04 * score, rtol=1e-5, atol=1e-7)
    assert not torch.allclose(found, y, atol=1e-3)


def test_the_noise_of_training_is_gaussian_about_the_middle_of_the_grey_level():
    model, seen = tarflow(gaussian_noise=0.1), []
    model.log_density = lambda y: seen.append(y) or y.flatten(1).sum(1)
    x = torch.full((4000, *SHAPE), 8, dtype=torch.uint8)
    loss = model.training_loss(x, model.draw_noise(4000, torch.Generator().manual_seed(0)))
    noise = (seen[0] - 0.5).flatten()
    assert noise.mean().abs() < 4 * 0.1 / math.sqrt(64000)
    assert noise.std().item() == pytest.approx(0.1, rel=0.02)
    assert ((noise / 0.1) ** 4).mean().item() == pytest.approx(3, rel=0.05)
    torch.testing.assert_close(loss, 16 * math.log(17) - seen[0].flatten(1).sum(1))


def test_guidance_and_denoising_are_named_and_leave_the_likelihood():
    plain = tarflow()
    options = {"gaussian_noise": 0.1, "denoise": True, "guidance": 0.5, "guidance_temperature": 2.0}
    changed = tarflow(**options)
    assert plain.sampling == "" and changed.likelihood == plain.likelihood
    assert changed.sampling == "guidance 0.5 at attention temperature 2, denoised of σ 0.1"
    x = torch.randint(0, 17, (4, *SHAPE), dtype=torch.uint8)
    noise = plain.draw_noise(4)
    assert torch.equal(plain.log_prob(x, noise), changed.log_prob(x, noise))
    assert torch.equal(plain.training_loss(x, noise), -plain.log_prob(x, noise))


@pytest.mark.parametrize(
    "options",
    [
        {"denoise": True},
        {"gaussian_noise": 0.1, "logit_margin": 0.05},
        {"gaussian_noise": 0.1, "dequantiser": {"blocks": 1}},
        {"patch": 3},
        {"patch": 8},
        {"heads": 3},
    ],
)
def test_what_cannot_be_is_refused(options):
    with pytest.raises(ConfigError):
        tarflow(**options)
