"""One loop over the baselines: what the contract of a density model and of a flow promises."""

import copy

import pytest
import torch
from baselines import BASELINES, EXACT_FLOWS, FLOWS, config, images, noise, tiny

from marscf import models
from marscf.bench.measure import kept_bytes
from marscf.counting import counted
from marscf.errors import ConfigError

every = pytest.mark.parametrize("name", BASELINES)
every_flow = pytest.mark.parametrize("name", FLOWS)
every_trained = pytest.mark.parametrize("name", [name for name in BASELINES if name != "histogram"])


@every
@pytest.mark.parametrize(
    "shape, grey_levels, batch",
    [((1, 2, 4), 2, 1), ((3, 4, 8), 256, 3), ((2, 6, 4), 17, 5), ((5, 8, 4), 3, 2)],
)
def test_any_size(name, shape, grey_levels, batch):
    model = tiny(name, shape, grey_levels)
    x, u = images(model, batch), noise(model, batch)
    with torch.no_grad():
        log_prob = model.log_prob(x, u)
        drawn = model.sample(batch, generator=torch.Generator().manual_seed(1))
    assert log_prob.shape == (batch,) and log_prob.isfinite().all() and log_prob.dtype == torch.float64
    assert drawn.shape == x.shape and drawn.dtype == torch.uint8 and drawn.max().item() < grey_levels


@every
def test_an_image_by_itself_or_among_others(name):
    model = tiny(name, (3, 4, 4))
    x, u = images(model, 5), noise(model, 5)
    with torch.no_grad():
        together = model.log_prob(x, u)
        alone = [model.log_prob(x[i : i + 1], None if u is None else u[i : i + 1]) for i in range(5)]
        again = model.log_prob(x, u)
    torch.testing.assert_close(torch.cat(alone), together, rtol=1e-9, atol=1e-9)
    assert torch.equal(again, together)


@every
def test_non_contiguous_images(name):
    model = tiny(name, (3, 4, 4))
    x, u = images(model, 3), noise(model, 3)
    view = x.transpose(2, 3).contiguous().transpose(2, 3)
    assert not view.is_contiguous()
    with torch.no_grad():
        torch.testing.assert_close(model.log_prob(view, u), model.log_prob(x, u), rtol=1e-9, atol=1e-9)


@every
def test_save_and_load(name, tmp_path):
    model = tiny(name).float()
    x, u = images(model, 3), noise(model, 3)
    models.save(model, config(name), tmp_path / "weights.safetensors")
    loaded = models.load(tmp_path / "weights.safetensors")
    with torch.no_grad():
        assert torch.equal(loaded.log_prob(x, u), model.log_prob(x, u))
        samples = [m.sample(2, generator=torch.Generator().manual_seed(3)) for m in (model, loaded)]
    assert torch.equal(*samples)


@every
def test_copies_are_independent(name):
    model = tiny(name)
    x, u = images(model, 2), noise(model, 2)
    with torch.no_grad():
        before = model.log_prob(x, u)
        copied = copy.deepcopy(model)
        for parameter in copied.parameters():
            parameter.mul_(1.5)
        assert torch.equal(model.log_prob(x, u), before)
        assert not torch.equal(copied.log_prob(x, u), before)


@every
def test_a_seed_gives_one_sample(name):
    model = tiny(name)
    first, second, other = (model.sample(4, generator=torch.Generator().manual_seed(s)) for s in (0, 0, 1))
    assert torch.equal(first, second) and not torch.equal(first, other)


@every
def test_cold_samples_are_alike(name):
    model = tiny(name)
    cold = model.sample(16, temperature=1e-3).float()
    warm = model.sample(16).float()
    assert cold.std(0).mean() < 0.2 * warm.std(0).mean()


@every_trained
def test_gradients_reach_every_parameter(name):
    model = tiny(name, (3, 4, 4)).train()
    model.training_loss(images(model, 6), noise(model, 6)).mean().backward()
    for parameter_name, parameter in model.named_parameters():
        assert parameter.grad is not None and parameter.grad.any(), parameter_name


@every_trained
def test_activation_checkpointing_changes_nothing_but_memory(name):
    model = tiny(name, (1, 8, 8)).train()
    x, u = images(model, 8), noise(model, 8)
    model.begin_step()

    def gradients(recompute: bool) -> list[torch.Tensor]:
        model.activation_checkpointing = recompute
        model.zero_grad()
        model.training_loss(x, u).mean().backward()
        return [p.grad.clone() for p in model.parameters()]

    def memory(recompute: bool) -> int:
        model.activation_checkpointing = recompute
        return kept_bytes(lambda: model.training_loss(x, u).mean(), list(model.parameters()))

    for plain, recomputed in zip(gradients(False), gradients(True), strict=True):
        torch.testing.assert_close(recomputed, plain)
    assert memory(True) < 0.9 * memory(False)


@every_trained
def test_a_few_steps_lower_the_loss(name):
    torch.manual_seed(0)
    model = models.build(config(name, (1, 4, 4), 5)).train()
    x = images(model, 32)[..., :1, :1].expand(-1, -1, 4, 4)  # all pixels alike
    model.initialise(x, noise(model, 32))
    optimiser = torch.optim.Adamax(model.parameters(), lr=2e-2)
    losses = []
    for step in range(25):
        model.begin_step()
        loss = model.training_loss(x, noise(model, 32, step)).mean()
        optimiser.zero_grad()
        loss.backward()
        optimiser.step()
        losses.append(loss.item())
    assert sum(losses[-5:]) / 5 < sum(losses[:5]) / 5 - 1


@every
def test_bfloat16_networks_keep_densities_in_float32(name):
    model = tiny(name, size=0.02).float()
    x, u = images(model, 4), noise(model, 4)
    with torch.no_grad():
        plain = model.log_prob(x, u)
        with torch.autocast("cpu", dtype=torch.bfloat16):
            mixed = model.log_prob(x, u)
    assert mixed.dtype == torch.float32
    torch.testing.assert_close(mixed / model.dims, plain / model.dims, atol=0.02, rtol=0.01)


@every
def test_wrong_images_are_refused(name):
    model = tiny(name)
    for wrong in (torch.zeros(1, 1, 8, 8, dtype=torch.uint8), torch.zeros(1, 1, 4, 4)):
        with pytest.raises(ConfigError, match="expected integer images"):
            model.log_prob(wrong, noise(model, 1))


@pytest.mark.parametrize(
    "name, shape, options, word",
    [
        ("pixelcnn", (1, 4, 4), {"kernel": 4}, "options.kernel"),
        ("pixelcnn", (1, 4, 4), {"first_kernel": 1}, "options.first_kernel"),
        ("pixelcnn", (3, 4, 4), {"channels": 2}, "options.channels"),
        ("flowpp", (1, 3, 4), {}, "even height"),
        ("flowpp", (1, 2, 2), {}, "checkerboard_after"),
        ("flowpp", (1, 4, 4), {"heads": 3}, "heads"),
        ("flowpp", (1, 4, 4), {"heads": 3, "channels": 6, "context": "attention"}, "heads"),
        (
            "flowpp",
            (1, 4, 4),
            {"actnorm": "pixel"},
            "options.actnorm: 'pixel' is not one of",
        ),
        ("flowpp", (1, 4, 4), {"logit_margin": 0.5}, "logit_margin"),
        ("residual-flow", (1, 4, 4), {"levels": 3}, "levels"),
        ("residual-flow", (1, 4, 4), {"lipschitz": 1.0}, "lipschitz"),
        ("residual-flow", (1, 4, 4), {"logit_margin": 0.7}, "logit_margin"),
    ],
)
def test_bad_options_are_named(name, shape, options, word):
    with pytest.raises(ConfigError, match=word):
        tiny(name, shape, **options)


# ---- flows


@every_flow
def test_encode_and_decode_invert_each_other(name):
    model = tiny(name, (3, 4, 8), 256)
    x = images(model, 3)
    with torch.no_grad():
        y = model.to_continuous(x, torch.rand(x.shape))
        torch.testing.assert_close(model.decode(model.encode_continuous(y)[0]), y, atol=1e-8, rtol=0)
        latents = model.latents_from(model.draw_eps(3))
        assert [tuple(z.shape[1:]) for z in latents] == model.latent_shapes
        again, _ = model.encode_continuous(model.decode(latents))
        for z, back in zip(latents, again, strict=True):
            torch.testing.assert_close(back, z, atol=1e-6, rtol=1e-6)
        assert torch.equal(model.to_discrete(model.decode(model.encode(x))), x)
        middle = model.encode_continuous(model.to_continuous(x))[0]
        torch.testing.assert_close(model.encode(x), middle)


@every_flow
def test_inverse_in_single_precision(name):
    model = tiny(name, (3, 8, 8), 256).float()
    with torch.no_grad():
        y = model.to_continuous(images(model, 8), torch.rand(8, *model.shape))
        assert (model.decode(model.encode_continuous(y)[0]) - y).abs().max() < 1e-5


@pytest.mark.parametrize("name", EXACT_FLOWS)
def test_log_det_is_the_jacobians(name):
    model = tiny(name, (2, 4, 4))
    y = model.to_continuous(images(model, 2), torch.rand(2, *model.shape))
    _, log_det = model.encode_continuous(y)
    for i in range(2):
        jacobian = torch.autograd.functional.jacobian(
            lambda y: model.encode_continuous(y)[0][0], y[i : i + 1]
        ).reshape(model.dims, model.dims)
        torch.testing.assert_close(torch.linalg.slogdet(jacobian)[1], log_det[i], rtol=1e-9, atol=1e-9)


@every_flow
def test_decode_is_differentiable(name):
    """The interpolation study climbs densities through the decoder."""
    model = tiny(name)
    z = model.encode(images(model, 1))[0].detach().requires_grad_()
    inverse = torch.autograd.functional.jacobian(lambda z: model.decode([z]), z).reshape(16, 16)
    y = model.decode([z]).detach()
    forward = torch.autograd.functional.jacobian(lambda y: model.encode_continuous(y)[0][0], y)
    product = forward.reshape(16, 16) @ inverse
    torch.testing.assert_close(product, torch.eye(16, dtype=z.dtype), atol=1e-6, rtol=0)


@pytest.mark.parametrize("name", ["flowpp", "residual-flow"])
def test_density_integrates_to_one(name):
    """Over the whole support, the image cube and the logit's margin around it, by the midpoint rule."""
    options = {"checkerboard_after": 0} if name == "flowpp" else {"levels": 0}
    model = tiny(name, (1, 2, 2), 2, size=0.05, **options)
    points, half = 20, 0.5 + 0.05 / 0.9
    axis = 0.5 + torch.linspace(-half, half, 2 * points + 1, dtype=torch.float64)[1::2]
    mass = 0.0
    with torch.no_grad():
        for part in torch.cartesian_prod(*[axis] * 4).view(-1, 1, 2, 2).split(60_000):
            mass += model.log_density(part).exp().sum().item()
    assert mass * (2 * half / points) ** 4 == pytest.approx(1, abs=2e-3)


@pytest.mark.parametrize("name", [name for name in FLOWS if name.startswith(("flowpp", "residual"))])
def test_drawing_takes_one_step(name):
    model = tiny(name)
    with counted() as steps:
        model.sample(3)
    assert steps.total == 1
