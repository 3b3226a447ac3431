import math

import pytest
import torch
from two_modes import BRIGHT, DARK, TwoModes

from marscf.errors import EvaluationError
from marscf.models.multiscale_flow import MultiScaleFlow
from marscf.studies.interpolation import (
    Descent,
    Ends,
    describe_points,
    relax,
)

SHAPE = (1, 4, 4)


def make_ends(pairs=1, noise=0.05, at=(DARK, BRIGHT), deviation=1.0):
    """Ends of pairs, the first near the dark mode, the second near the bright one."""
    generator = torch.Generator().manual_seed(1)
    draw = noise * torch.randn(2, pairs, *SHAPE, generator=generator)
    return Ends([at[0] + draw[0]], [at[1] + draw[1]], [deviation])


def walk(model, ends, points=9, lambda1=0.35, **descent):
    """The line's inner points and where they are moved to, with each one's own ends."""
    each = ends.repeat(points - 2)
    line = ends.line(torch.linspace(0, 1, points)[1:-1])
    weights = torch.full((len(line[0]),), lambda1)
    return line, relax(model, line, each, weights, Descent(**descent)), each


def test_straight_line_starts_and_ends_exactly():
    ends = make_ends(pairs=3)
    line = ends.line(torch.linspace(0, 1, 5))[0].unflatten(0, (3, 5))
    assert torch.equal(line[:, 0], ends.first[0]) and torch.equal(line[:, -1], ends.second[0])
    torch.testing.assert_close(line[:, 2], (ends.first[0] + ends.second[0]) / 2)


def test_our_path_leaves_the_saddle_where_the_straight_line_stays():
    model = TwoModes(SHAPE, 17)
    ends = make_ends(noise=0)
    line, moved, each = walk(model, ends)
    saddle = 3  # the middle point: equally far from both modes, where the gradient of log p(z) is zero
    at_mode = model.latent_log_prob(ends.first)
    start = [line[0][saddle : saddle + 1].requires_grad_()]
    (gradient,) = torch.autograd.grad(model.latent_log_prob(start).sum(), start)
    assert gradient.abs().max() < 1e-4
    before, after = model.latent_log_prob(line)[saddle], model.latent_log_prob(moved)[saddle]
    assert before < at_mode - 50
    assert after > at_mode - 1
    # It went to a mode, not to some other place of like density.
    assert each.distance(moved)[saddle] < 0.1 * each.distance(line)[saddle]


@pytest.mark.parametrize("lambda1", [0.05, 0.2, 0.35, 0.5, 5.0])
@pytest.mark.parametrize("iterations", [1, 5, 100])
def test_density_is_higher_at_every_inner_point(lambda1, iterations):
    model = TwoModes(SHAPE, 17)
    line, moved, each = walk(model, make_ends(pairs=4), lambda1=lambda1, iterations=iterations)
    before, after = describe_points(model, line, each), describe_points(model, moved, each)
    assert (after[1][:, 0] > before[1][:, 0]).all()  # log p(z)
    assert (after[1][:, 1] > before[1][:, 1]).all()  # log p(y)


def test_density_is_higher_even_where_the_pull_of_the_ends_is_against_it():
    # A single wide mode at 0, between ends that are far out: the distance draws the points away from it.
    model = TwoModes(SHAPE, 17, deviation=2.0)
    line, moved, each = walk(model, make_ends(noise=0, at=(-4.0, 3.0)), lambda1=1e-3)
    assert (model.latent_log_prob(moved) > model.latent_log_prob(line)).all()
    # And no further from the ends than that needs.
    assert (each.distance(moved) < 1.1 * each.distance(line)).all()


def test_points_move_independently_of_their_batch():
    model, ends = TwoModes(SHAPE, 17), make_ends(pairs=3)
    together = walk(model, ends)[1][0].unflatten(0, (3, -1))
    alone = walk(model, ends.at(torch.tensor([1])))[1][0]
    torch.testing.assert_close(together[1], alone)


def test_only_the_ratio_of_the_lambdas_matters():
    model, ends = TwoModes(SHAPE, 17), make_ends()
    small = walk(model, ends, lambda1=0.2, distance_weight=0.2)[1][0]
    large = walk(model, ends, lambda1=0.5, distance_weight=0.5)[1][0]
    other = walk(model, ends, lambda1=0.2, distance_weight=20.0)[1][0]
    torch.testing.assert_close(small, large, atol=1e-3, rtol=0)
    assert (small - other).abs().max() > 0.01


def test_the_ends_pull():
    distances = []
    for weight in (0.01, 1.0, 100.0):
        _, moved, each = walk(TwoModes(SHAPE, 17), make_ends(), distance_weight=weight)
        distances.append(each.distance(moved).sum())
    assert distances[0] > distances[1] > distances[2]


def test_the_path_does_not_depend_on_the_latents_scale():
    class Halved(TwoModes):
        """The same density of images, with latents half as large."""

        def encode_continuous(self, y):
            return [y / 2], y.new_full((len(y),), -self.dims * math.log(2))

        def decode(self, latents):
            return 2 * latents[0]

        def latent_log_prob(self, latents):
            return super().latent_log_prob([2 * latents[0]]) + self.dims * math.log(2)

    whole, half = TwoModes(SHAPE, 17), Halved(SHAPE, 17)
    ends = make_ends(deviation=0.3)
    ends_of_half = Ends([ends.first[0] / 2], [ends.second[0] / 2], [0.15])
    _, moved, each = walk(whole, ends)
    _, moved_half, each_half = walk(half, ends_of_half, learning_rate=2.5e-2)
    torch.testing.assert_close(half.decode(moved_half), whole.decode(moved), atol=1e-3, rtol=0)
    torch.testing.assert_close(each_half.distance(moved_half), each.distance(moved), atol=1e-2, rtol=0)
    torch.testing.assert_close(
        describe_points(half, moved_half, each_half)[1][:, 1],
        describe_points(whole, moved, each)[1][:, 1],
        atol=1e-2,
        rtol=0,
    )


def test_distance_is_to_the_nearer_end_and_differentiable_at_a_tie():
    ends = Ends([torch.zeros(1, 1, 2, 2)], [torch.ones(1, 1, 2, 2)], [0.5])
    assert ends.distance([torch.full((1, 1, 2, 2), 0.75)]).item() == pytest.approx(4 * 0.0625 / 0.25)
    middle = [torch.full((1, 1, 2, 2), 0.5, requires_grad=True)]
    ends.distance(middle).sum().backward()
    assert (middle[0].grad == 4.0).all()


def test_a_flat_density_is_an_error_in_words():
    class Flat(TwoModes):
        def latent_log_prob(self, latents):
            return 0 * latents[0].flatten(1).sum(1)

    with pytest.raises(EvaluationError, match="found no place denser"):
        walk(Flat(SHAPE, 17), make_ends(), iterations=3)


@pytest.mark.parametrize(
    ("coupling", "prior"), [("affine", "gaussian"), ("affine", "mar"), ("mixlogcdf", "mar")]
)
def test_a_multi_scale_flows_latents_move_together_to_higher_densities(coupling, prior):
    options = {"levels": 2, "steps": 1, "channels": 4, "lstm_channels": 4, "lstm_layers": 1}
    options |= {"components": 2, "blocks": 1, "heads": 1, "dropout": 0.0}
    generator = torch.Generator().manual_seed(0)
    model = MultiScaleFlow((1, 8, 8), 17, coupling=coupling, prior=prior, **options).double()
    with torch.no_grad():
        for parameter in model.parameters():
            parameter += 0.05 * torch.randn(parameter.shape, generator=generator)
    images = torch.randint(0, 17, (4, 1, 8, 8), generator=generator, dtype=torch.uint8)
    model.initialise(images)
    model.eval().requires_grad_(False)
    latents = model.encode(images)
    assert torch.equal(model.to_discrete(model.decode(latents)), images)
    ends = Ends([level[0::2] for level in latents], [level[1::2] for level in latents], [1.0, 1.0])
    line, moved, each = walk(model, ends, points=5, iterations=20)
    before, after = describe_points(model, line, each)[1], describe_points(model, moved, each)[1]
    assert (after[:, :2] > before[:, :2]).all()
    assert all((a != b).flatten(1).any(1).all() for a, b in zip(line, moved, strict=True))  # at every level


def test_a_denser_latent_is_kept_where_no_image_is_denser():
    class Opposed(TwoModes):
        """A flow whose log_det takes away twice what the prior gives."""

        def log_density(self, y):
            return -self.latent_log_prob(self.encode_continuous(y)[0])

    model = Opposed(SHAPE, 17)
    line, moved, _ = walk(model, make_ends(), iterations=10)
    assert (model.latent_log_prob(moved) > model.latent_log_prob(line)).all()
