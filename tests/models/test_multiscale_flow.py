import itertools
import math

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from marscf import models
from marscf.errors import ConfigError
from marscf.models.multiscale_flow import MultiScaleFlow
from marscf.settings import RunConfig

COUPLINGS, PRIORS = ("affine", "mixlogcdf"), ("gaussian", "mar")
every_kind = pytest.mark.parametrize("coupling, prior", list(itertools.product(COUPLINGS, PRIORS)))
SMALL = {
    "channels": 4,
    "components": 2,
    "blocks": 1,
    "heads": 2,
    "dropout": 0.0,
    "lstm_channels": 3,
    "lstm_layers": 2,
}


def tiny(shape=(1, 4, 4), grey_levels=17, size=0.2, **options) -> MultiScaleFlow:
    """A small model in float64 and eval mode, its parameters off their special starting values."""
    torch.manual_seed(0)
    model = MultiScaleFlow(shape, grey_levels, **{"levels": 2, "steps": 2, **SMALL, **options})
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.add_(size * torch.randn_like(parameter))
    return model.double().eval()


def images(model: MultiScaleFlow, n: int) -> torch.Tensor:
    generator = torch.Generator().manual_seed(0)
    return torch.randint(0, model.grey_levels, (n, *model.shape), generator=generator, dtype=torch.uint8)


@every_kind
def test_encode_and_decode_invert_each_other(coupling, prior):
    model = tiny((3, 8, 8), 256, coupling=coupling, prior=prior, size=0.05)
    with torch.no_grad():
        y = model.to_continuous(images(model, 3), model.draw_noise(3))
        latents, _ = model.encode_continuous(y)
        torch.testing.assert_close(model.decode(latents), y, atol=1e-8, rtol=0)
        eps = model.draw_eps(3)
        drawn = model.latents_from(eps)
        for z, again in zip(drawn, model.encode_continuous(model.decode(drawn))[0], strict=True):
            torch.testing.assert_close(again, z, atol=1e-8, rtol=1e-8)
        torch.testing.assert_close(model.decode_noise(eps), model.decode(drawn))


@settings(max_examples=12, deadline=None, derandomize=True)
@given(
    channels=st.integers(1, 3),
    height=st.integers(1, 3),
    width=st.integers(1, 3),
    levels=st.integers(1, 3),
    batch=st.integers(1, 5),
    coupling=st.sampled_from(COUPLINGS),
    prior=st.sampled_from(PRIORS),
)
def test_any_size(channels, height, width, levels, batch, coupling, prior):
    shape = (channels, height * 2**levels, width * 2**levels)
    model = tiny(shape, levels=levels, steps=1, coupling=coupling, prior=prior)
    x = images(model, batch)
    with torch.no_grad():
        noise = model.draw_noise(batch)
        log_prob = model.log_prob(x, noise)
        assert log_prob.shape == (batch,) and log_prob.isfinite().all()
        alone = torch.cat([model.log_prob(x[i : i + 1], noise[i : i + 1]) for i in range(batch)])
        torch.testing.assert_close(alone, log_prob, rtol=1e-9, atol=1e-9)
        assert [tuple(z.shape[1:]) for z in model.encode(x)] == model.latent_shapes
        drawn = model.sample(batch)
    assert drawn.shape == x.shape and drawn.dtype == torch.uint8 and drawn.max() < model.grey_levels


@every_kind
def test_log_det_and_prior_make_the_density(coupling, prior):
    """`log p(y) = log p(z) + log |det|`, with the whole flow's determinant by autograd."""
    model = tiny(coupling=coupling, prior=prior)
    y = model.to_continuous(images(model, 1), model.draw_noise(1))

    def flat(y):
        return torch.cat([z.flatten() for z in model.encode_continuous(y)[0]])

    jacobian = torch.autograd.functional.jacobian(flat, y).flatten(1)
    latents, log_det = model.encode_continuous(y)
    torch.testing.assert_close(torch.linalg.slogdet(jacobian)[1], log_det[0], atol=1e-8, rtol=1e-8)
    torch.testing.assert_close(model.latent_log_prob(latents) + log_det, model.log_density(y))


@every_kind
def test_sampling_agrees_with_log_prob(coupling, prior):
    """Samples' log-density from the sampler's side: noise's density over the sampler's own Jacobian."""
    model = tiny((1, 2, 4), levels=1, coupling=coupling, prior=prior, size=0.1)

    def paint(eps):
        return model.decode_noise([eps.view(1, *model.latent_shapes[0])]).flatten()

    def from_noise(eps):
        jacobian = torch.autograd.functional.jacobian(paint, eps)
        return -0.5 * eps.square().sum() - 4 * math.log(2 * math.pi) - torch.linalg.slogdet(jacobian)[1]

    generator = torch.Generator().manual_seed(0)
    eps = torch.randn(48, 8, generator=generator, dtype=torch.float64)
    by_noise = torch.stack([from_noise(e) for e in eps])
    with torch.no_grad():
        same = model.log_density(model.decode_noise([eps.view(-1, *model.latent_shapes[0])]))
        fresh = model.log_density(model.decode_noise(model.draw_eps(4000, generator=generator)))
    torch.testing.assert_close(same, by_noise, atol=1e-7, rtol=1e-7)
    # The negative entropy from noise, and the mean log-density of other samples: within 4 standard errors.
    error = math.sqrt(by_noise.var().item() / 48 + fresh.var().item() / 4000)
    assert abs(fresh.mean() - by_noise.mean()) < 4 * error


@every_kind
def test_all_images_together_have_probability_one(coupling, prior):
    """A 1×2×2 model of 3 grey levels that keeps nearly all its mass on images: the sum over all 81 is 1.

    Each image's probability is the integral of the density over its cell, here by the midpoint rule.
    """
    model = tiny((1, 2, 2), 3, levels=1, coupling=coupling, prior=prior, size=0.05)
    with torch.no_grad():
        for step in model.levels[0]:
            step.actnorm.bias.zero_()
            step.actnorm.log_scale.fill_(1.3)
        grey = torch.arange(3, dtype=torch.uint8)
        x = torch.cartesian_prod(*[grey] * 4).view(-1, 1, 2, 2)
        points = 4
        offsets = (torch.arange(points, dtype=torch.float64) + 0.5) / points
        u = torch.cartesian_prod(*[offsets] * 4).view(-1, 1, 2, 2)
        exact = bound = 0.0
        for image in x:
            log_prob = model.log_prob(image.expand(len(u), -1, -1, -1), u)
            exact += log_prob.exp().mean().item()
            bound += log_prob.mean().exp().item()  # Jensen: what one draw estimates in the mean
    assert bound <= exact <= 1.001
    assert exact > 0.98


@every_kind
def test_gradients_reach_every_parameter(coupling, prior):
    model = tiny(coupling=coupling, prior=prior).train()
    model.training_loss(images(model, 4), model.draw_noise(4)).mean().backward()
    for name, parameter in model.named_parameters():
        assert parameter.grad is not None and parameter.grad.any(), name


@every_kind
def test_save_and_load(coupling, prior, tmp_path):
    model = tiny(coupling=coupling, prior=prior).float()
    options = {"levels": 2, "steps": 2, **SMALL, "coupling": coupling, "prior": prior}
    config = RunConfig.from_json(
        {
            **{"scale": "", "dataset": "", "system": "", "seed": 0, "seed_value": 0},
            **{"model": "multiscale_flow.MultiScaleFlow", "options": options},
            "data": {"shape": [1, 4, 4], "grey_levels": 17, "dims": 16, "augment": "none"},
        }
    )
    x, noise = images(model, 3), model.draw_noise(3)
    models.save(model, config, tmp_path / "weights.safetensors")
    loaded = models.load(tmp_path)
    with torch.no_grad():
        assert torch.equal(loaded.log_prob(x, noise), model.log_prob(x, noise))
        eps = model.draw_eps(2)
        assert torch.equal(loaded.decode_noise(eps), model.decode_noise(eps))


@every_kind
def test_activation_checkpointing_changes_nothing(coupling, prior):
    model = tiny(coupling=coupling, prior=prior, dropout=0.5).train()
    x, noise = images(model, 4), model.draw_noise(4)

    def gradients(recompute: bool):
        model.activation_checkpointing = recompute
        model.zero_grad()
        torch.manual_seed(3)
        loss = model.training_loss(x, noise).mean()
        loss.backward()
        return [loss.detach(), *(p.grad.clone() for p in model.parameters())]

    for plain, recomputed in zip(gradients(False), gradients(True), strict=True):
        torch.testing.assert_close(recomputed, plain)


@every_kind
def test_initialisation_with_recomputation(coupling, prior):
    """The first training step may be the one that initialises, recomputed or not."""
    torch.manual_seed(0)
    model = MultiScaleFlow((1, 4, 4), 17, levels=1, steps=2, coupling=coupling, prior=prior, **SMALL).train()
    model.activation_checkpointing = True
    model.training_loss(images(model, 8)).mean().backward()
    assert all(flag for name, flag in model.named_buffers() if name.endswith("initialised"))


@every_kind
def test_bfloat16_networks_keep_densities_in_float32(coupling, prior):
    model = tiny((3, 8, 8), 256, coupling=coupling, prior=prior, size=0.02).float()
    x, noise = images(model, 4), model.draw_noise(4)
    with torch.no_grad():
        plain = model.log_prob(x, noise)
        with torch.autocast("cpu", dtype=torch.bfloat16):
            mixed = model.log_prob(x, noise)
    assert mixed.dtype == torch.float32 and not torch.equal(mixed, plain)
    torch.testing.assert_close(mixed / model.dims, plain / model.dims, atol=0.02, rtol=0.01)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        model.train().training_loss(x, noise).mean().backward()
    assert all(p.grad.dtype == torch.float32 and p.grad.isfinite().all() for p in model.parameters())


def test_dropout_only_in_training():
    model = tiny(coupling="mixlogcdf", dropout=0.5)
    x, noise = images(model, 2), model.draw_noise(2)
    with torch.no_grad():
        assert torch.equal(model.log_prob(x, noise), model.log_prob(x, noise))
        model.train()
        assert not torch.equal(model.log_prob(x, noise), model.log_prob(x, noise))


def test_mar_prior_conditions_on_earlier_channels_only():
    """Channel j's mean and scale see channels before j and the context, nothing else."""
    model = tiny((3, 8, 8), prior="mar", steps=1)
    prior, z = model.priors[0], torch.randn(1, 6, 4, 4, dtype=torch.float64)
    context = torch.randn(1, 6, 4, 4, dtype=torch.float64)
    eps = torch.zeros_like(z)
    with torch.no_grad():
        means = prior.sample(context, eps)  # each channel its mean, given the means before it
        changed = eps.clone()
        changed[:, 3] = 1
        drawn = prior.sample(context, changed)
        assert torch.equal(drawn[:, :3], means[:, :3])
        assert (drawn[:, 3:] != means[:, 3:]).flatten(2).any(2).all()
        other = prior.sample(context + 1, eps)
        assert (other != means).flatten(2).any(2).all()


@pytest.mark.parametrize("scaling, low, high", [("even", 0.0, 1.0), ("official", 0.0, 1 + 1 / 256)])
def test_pixel_scaling(scaling, low, high):
    model = tiny((1, 16, 16), 256, levels=1, steps=1, pixel_scaling=scaling)
    x = torch.arange(256, dtype=torch.uint8).view(1, 1, 16, 16)
    for u in (0.01, 0.5, 0.99):
        y = model.to_continuous(x, torch.full(x.shape, u, dtype=torch.float64))
        assert torch.equal(model.to_discrete(y), x)
        assert low <= y.min() and y.max() < high
    assert torch.equal(model.to_discrete(model.to_continuous(x)), x)


@pytest.mark.parametrize(
    "options, word", [({"levels": 3}, "levels"), ({"coupling": "mixlogcdf", "heads": 3}, "heads")]
)
def test_bad_options_are_named(options, word):
    with pytest.raises(ConfigError, match=word):
        tiny((1, 4, 4), **options)


def test_wrong_images_are_refused():
    model = tiny()
    with pytest.raises(ConfigError, match="expected integer images"):
        model.log_prob(torch.zeros(1, 1, 8, 8, dtype=torch.uint8))
    with pytest.raises(ConfigError, match="expected integer images"):
        model.log_prob(torch.zeros(1, 1, 4, 4))


@every_kind
def test_logit_margin_is_a_change_of_variables(coupling, prior):
    """Against the same weights without a logit, at the transformed pixels, with the slope written out."""
    plain, model = (tiny(coupling=coupling, prior=prior, logit_margin=m) for m in (None, 0.1))
    model.load_state_dict(plain.state_dict())  # a logit has no weights
    with torch.no_grad():
        y = model.to_continuous(images(model, 3), model.draw_noise(3))
        p = 0.1 + 0.8 * y
        slope = torch.log(0.8 / (p * (1 - p))).flatten(1).sum(1)
        expected = plain.log_density(torch.log(p / (1 - p)) + 0.5) + slope
        torch.testing.assert_close(model.log_density(y), expected)
        latents, log_det = model.encode_continuous(y)
        torch.testing.assert_close(model.latent_log_prob(latents) + log_det, expected)
        torch.testing.assert_close(model.decode(latents), y, atol=1e-8, rtol=0)
        assert model.to_discrete(model.decode(latents)).equal(model.to_discrete(y))
    assert plain.likelihood == "lower bound, uniform dequantisation"
    assert model.likelihood == "lower bound, uniform dequantisation, logit margin 0.1"


def test_a_drawn_image_beyond_the_pixels_range_has_a_density():
    model = tiny(logit_margin=1e-6).float()
    with torch.no_grad():
        y = model.decode([30 * torch.ones(1, *shape) for shape in model.latent_shapes])
        assert torch.isfinite(model.log_density(y)).all()
