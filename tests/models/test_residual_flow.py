import pytest
import torch
from baselines import config, images, noise, options_of, tiny

from marscf.errors import EvaluationError
from marscf.flows.actnorm import ActNorm
from marscf.flows.residual import ResidualBlock
from marscf.models import build
from marscf.models.base import Estimate
from marscf.models.residual_flow import NORM_ITERATIONS, ResidualFlow
from marscf.nets.lipschitz import LipschitzConv2d


def operator_norm(conv: LipschitzConv2d, size: tuple[int, int]) -> float:
    """The norm of the convolution as a matrix over whole images."""
    weight, _ = conv.tensors()
    basis = torch.eye(weight.shape[1] * size[0] * size[1], dtype=weight.dtype)
    images = torch.nn.functional.conv2d(basis.view(-1, weight.shape[1], *size), weight, padding=conv.padding)
    return torch.linalg.matrix_norm(images.flatten(1), 2).item()


@pytest.fixture(scope="module")
def trained() -> ResidualFlow:
    """Trained for a while at a learning rate that pushes every constant against its bound."""
    torch.manual_seed(0)
    model = ResidualFlow((1, 8, 8), 17, levels=1, blocks=2, channels=8).train()
    x = images(model, 32) // 4
    model.initialise(x, noise(model, 32))
    optimiser = torch.optim.Adamax(model.parameters(), lr=0.02)
    for step in range(60):
        optimiser.zero_grad()
        model.begin_step()
        model.training_loss(x, noise(model, 32, step)).mean().backward()
        optimiser.step()
    return model.eval()


def test_lipschitz_constants_after_training(trained):
    pressed = 0
    for block in (layer for layer in trained.layers if isinstance(layer, ResidualBlock)):
        channels = block.net.convs[0].weight.shape[1]
        side = 8 if channels == 1 else 4
        for conv in block.net.convs:
            norm = operator_norm(conv, (side, side))
            assert norm < 0.98 * (1 + 1e-3)
            pressed += norm > 0.97
        x, y = torch.randn(2, 64, channels, side, side)
        with torch.no_grad():
            moved = (block.net(x) - block.net(y)).flatten(1).norm(dim=1)
        assert (moved <= block.net.bound * (x - y).flatten(1).norm(dim=1) * (1 + 1e-3)).all()
    assert pressed, "nothing was trained near its bound, so nothing was tested"


def test_blocks_contract_while_training(trained):
    """The norms carried from step to step lag a little behind; the blocks are contractions all the same."""
    trained.train().follow_norms(NORM_ITERATIONS)
    try:
        for block in (layer for layer in trained.layers if isinstance(layer, ResidualBlock)):
            channels = block.net.convs[0].weight.shape[1]
            side = 8 if channels == 1 else 4
            for conv in block.net.convs:
                assert operator_norm(conv, (side, side)) < 1.1
            for scale in (0.1, 1, 10):
                x = scale * torch.randn(1, channels, side, side)
                jacobian = torch.autograd.functional.jacobian(block.net, x).reshape(64, 64)
                assert torch.linalg.matrix_norm(jacobian, 2) < 1
    finally:
        trained.eval()


def test_inverse_after_training(trained):
    with torch.no_grad():
        y = trained.to_continuous(images(trained, 16), noise(trained, 16))
        assert (trained.decode(trained.encode_continuous(y)[0]) - y).abs().max() < 1e-5
        assert trained.sample(16).shape == (16, 1, 8, 8)


def test_roulette_after_training_is_within_its_error_of_the_truth(trained):
    """The estimate that large images get, at evaluation's settings, against whole Jacobians."""
    x = images(trained, 200)
    u = noise(trained, 200)
    with torch.no_grad():
        exact = trained.log_prob(x, u)
        try:
            trained.exact_dims = 0
            estimate = trained.log_prob(x, u)
        finally:
            trained.exact_dims = 64
    difference = estimate - exact
    assert difference.std() > 0
    assert abs(difference.mean()) < 4 * difference.std() / 200**0.5


def test_training_and_evaluation_agree_in_the_mean():
    model = tiny("residual-flow", (1, 4, 4), size=0.3)
    x, u = images(model, 3000), noise(model, 3000)
    model.initialise(x[:50], u[:50])
    errors = []
    with torch.no_grad():
        exact = model.log_prob(x, u)
        model.train().follow_norms(1000)
        for part in torch.arange(3000).split(100):
            model.begin_step()
            errors.append((-model.training_loss(x[part], u[part]) - exact[part]).mean())
    # A step shares one series length a block, so the steps' means are what is independent.
    means = torch.stack(errors)
    assert means.std() > 0
    assert abs(means.mean()) < 4 * means.std() / 30**0.5


def test_more_probes_are_nearer():
    errors = []
    for probes in (1, 16):
        model = tiny("residual-flow", (1, 4, 4), size=0.3, exact_dims=0, probes=probes)
        x, u = images(model, 100), noise(model, 100)
        with torch.no_grad():
            estimate = model.log_prob(x, u)
            model.exact_dims = 64
            errors.append((estimate - model.log_prob(x, u)).square().mean())
    assert errors[1] < errors[0] / 4


def test_the_protocol_says_how():
    assert "whole Jacobians" in ResidualFlow((1, 8, 8), 17, blocks=1, channels=4).likelihood
    model = ResidualFlow((3, 8, 8), 256, blocks=1, channels=4, exact_terms=12, probes=3)
    assert "12 exact terms" in model.likelihood and model.estimate == Estimate(probes=3)


def test_fully_connected_blocks_stand_at_the_end():
    model = tiny("residual-flow", (3, 4, 8), fc_blocks=3, fc_channels=5)
    layers = list(model.layers)
    closing = layers[-7]
    assert isinstance(closing, ActNorm) and closing.bias.shape == (12, 1, 1)
    for block, norm in zip(layers[-6::2], layers[-5::2], strict=True):
        shapes = [tuple(conv.weight.shape) for conv in block.net.convs]
        assert shapes == [(5, 96, 1, 1), (5, 5, 1, 1), (96, 5, 1, 1)]
        assert len(block.net.raw_betas) == 3  # each layer has its activation before it
        assert norm.bias.shape == (12, 2, 4)


def test_first_batch_scales_no_position_beyond_the_least_variance():
    torch.manual_seed(0)
    model = build(config("residual-flow", (1, 4, 4), fc_blocks=1))
    x = images(model, 1).expand(64, -1, -1, -1)
    model.initialise(x, noise(model, 1).expand(x.shape))  # no position varies
    *_, last = model.layers
    assert torch.allclose(last.log_scale.exp(), torch.tensor(0.2).rsqrt(), atol=1e-4)


@pytest.mark.parametrize("dataset, millions", [("cifar10", 25.2), ("imagenet32", 47.1)])
def test_as_many_parameters_as_the_authors_code_makes(dataset, millions):
    """At scale `paper`, rounded: our ActNorms after a squeeze have four times the channels."""
    with torch.device("meta"):
        model = ResidualFlow((3, 32, 32), 256, **options_of("paper", dataset, "residual-flow"))
    assert sum(p.numel() for p in model.parameters()) / 1e6 == pytest.approx(millions, abs=0.05)


def test_weights_serve_every_image_size():
    small, large = tiny("residual-flow", (1, 4, 4)), tiny("residual-flow", (1, 8, 8))
    large.load_state_dict(small.state_dict())
    with torch.no_grad():
        y = large.to_continuous(images(large, 2))
        torch.testing.assert_close(large.decode(large.encode_continuous(y)[0]), y, atol=1e-8, rtol=0)


def test_a_step_draws_the_same_in_however_many_parts_its_batch_is_taken():
    model = tiny("residual-flow", size=0.3).train()
    x, u = images(model, 4), noise(model, 4)
    model.initialise(x, u)
    torch.manual_seed(1)
    model.begin_step()
    before = {name: value.clone() for name, value in model.state_dict().items()}
    whole = model.training_loss(x, u)
    torch.manual_seed(2)
    parts = torch.cat([model.training_loss(x[part], u[part]) for part in (slice(1), slice(1, 4))])
    torch.testing.assert_close(parts, whole, atol=1e-12, rtol=0)
    assert all(torch.equal(value, before[name]) for name, value in model.state_dict().items())


def test_every_step_draws_anew():
    model = tiny("residual-flow", size=0.3).train()
    x, u = images(model, 4), noise(model, 4)
    model.follow_norms(1000)  # to where they stay
    losses = set()
    for _ in range(20):
        model.begin_step()
        losses.add(round(model.training_loss(x, u).sum().item(), 6))
    assert len(losses) > 1  # the series' lengths
    estimates = torch.stack([model.training_loss(x[:1], noise(model, 1, k)) for k in range(20)])
    with torch.no_grad():
        exact = -torch.stack([model.eval().log_prob(x[:1], noise(model, 1, k)) for k in range(20)])
    assert (estimates - exact).std() > 1e-6  # the probes, another with each noise


def test_an_inverse_that_is_not_found_is_an_error():
    model = tiny("residual-flow")
    block = next(layer for layer in model.layers if isinstance(layer, ResidualBlock))
    with pytest.raises(EvaluationError, match="still moves"):
        block.inverse(torch.full((1, 1, 4, 4), float("nan"), dtype=torch.float64))
