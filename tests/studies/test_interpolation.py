import pytest
import torch
from two_modes import BRIGHT, DARK, TwoModes

from marscf.errors import EvaluationError
from marscf.studies.interpolation import (
    Descent,
    describe_points,
    distance_to_ends,
    relax,
    squared_distance,
    straight,
)

SHAPE = (1, 4, 4)


def ends(pairs=1, noise=0.05):
    """Pairs of latents, the first near the dark mode, the second near the bright one."""
    generator = torch.Generator().manual_seed(1)
    draw = noise * torch.randn(2, pairs, *SHAPE, generator=generator)
    return [DARK + draw[0]], [BRIGHT + draw[1]]


def walk(model, first, second, points=9, lambda1=0.35, **descent):
    """The line's inner points and where they are moved to, with each one's own ends."""
    inner = points - 2
    t = torch.linspace(0, 1, points)[1:-1]
    first_each, second_each = (
        [level.repeat_interleave(inner, 0) for level in end] for end in (first, second)
    )
    line = straight(first, second, t)
    weights = torch.full((len(line[0]),), lambda1)
    moved = relax(model, line, first_each, second_each, weights, Descent(**descent))
    return line, moved, first_each, second_each


def test_straight_line_starts_and_ends_exactly():
    first, second = ends(pairs=3)
    line = straight(first, second, torch.linspace(0, 1, 5))[0].unflatten(0, (3, 5))
    assert torch.equal(line[:, 0], first[0]) and torch.equal(line[:, -1], second[0])
    torch.testing.assert_close(line[:, 2], (first[0] + second[0]) / 2)


def test_our_path_leaves_the_saddle_where_the_straight_line_stays():
    model = TwoModes(SHAPE, 17)
    first, second = [torch.full((1, *SHAPE), DARK)], [torch.full((1, *SHAPE), BRIGHT)]
    line, moved, _, _ = walk(model, first, second)
    saddle = 3  # the middle point: equally far from both modes, where the gradient of log p(z) is zero
    at_mode = model.latent_log_prob(first)
    start = [line[0][saddle : saddle + 1].requires_grad_()]
    (gradient,) = torch.autograd.grad(model.latent_log_prob(start).sum(), start)
    assert gradient.abs().max() < 1e-4
    before, after = model.latent_log_prob(line)[saddle], model.latent_log_prob(moved)[saddle]
    assert before < at_mode - 50
    assert after > at_mode - 1
    # It went to a mode, not to some other place of like density.
    nearest = min(squared_distance([moved[0][saddle : saddle + 1]], mode) for mode in (first, second))
    assert nearest < 0.1 * squared_distance(first, second)


@pytest.mark.parametrize("lambda1", [0.05, 0.2, 0.35, 0.5, 5.0])
@pytest.mark.parametrize("iterations", [1, 5, 100])
def test_density_is_higher_at_every_inner_point(lambda1, iterations):
    model = TwoModes(SHAPE, 17)
    line, moved, first, second = walk(model, *ends(pairs=4), lambda1=lambda1, iterations=iterations)
    before, after = describe_points(model, line, first, second), describe_points(model, moved, first, second)
    assert (after[1][:, 0] > before[1][:, 0]).all()  # log p(z)
    assert (after[1][:, 1] > before[1][:, 1]).all()  # log p(y)


def test_density_is_higher_even_where_the_pull_of_the_ends_is_against_it():
    # A single wide mode at 0, between ends that are far out: the distance draws the points away from it.
    model = TwoModes(SHAPE, 17, deviation=2.0)
    first, second = [torch.full((1, *SHAPE), -4.0)], [torch.full((1, *SHAPE), 3.0)]
    line, moved, _, _ = walk(model, first, second, lambda1=1e-3)
    assert (model.latent_log_prob(moved) > model.latent_log_prob(line)).all()


def test_points_move_independently_of_their_batch():
    model = TwoModes(SHAPE, 17)
    first, second = ends(pairs=3)
    together = walk(model, first, second)[1][0].unflatten(0, (3, -1))
    alone = walk(model, [first[0][1:2]], [second[0][1:2]])[1][0]
    torch.testing.assert_close(together[1], alone)


def test_only_the_ratio_of_the_lambdas_matters():
    model = TwoModes(SHAPE, 17)
    small = walk(model, *ends(), lambda1=0.2, distance_weight=0.2)[1][0]
    large = walk(model, *ends(), lambda1=0.5, distance_weight=0.5)[1][0]
    other = walk(model, *ends(), lambda1=0.2, distance_weight=20.0)[1][0]
    torch.testing.assert_close(small, large, atol=1e-3, rtol=0)
    assert (small - other).abs().max() > 0.01


def test_the_ends_pull():
    model = TwoModes(SHAPE, 17)
    first, second = ends()
    distances = []
    for weight in (0.01, 1.0, 100.0):
        _, moved, first_each, second_each = walk(model, first, second, distance_weight=weight)
        distances.append(distance_to_ends(moved, first_each, second_each).sum())
    assert distances[0] > distances[1] > distances[2]


def test_distance_is_to_the_nearer_end_and_differentiable_at_a_tie():
    first, second = [torch.zeros(1, 1, 2, 2)], [torch.ones(1, 1, 2, 2)]
    z = [torch.full((1, 1, 2, 2), 0.75)]
    assert distance_to_ends(z, first, second).item() == pytest.approx(4 * 0.0625)
    middle = [torch.full((1, 1, 2, 2), 0.5, requires_grad=True)]
    distance_to_ends(middle, first, second).sum().backward()
    assert (middle[0].grad == 1.0).all()


def test_a_flat_density_is_an_error_in_words():
    class Flat(TwoModes):
        def latent_log_prob(self, latents):
            return 0 * latents[0].flatten(1).sum(1)

    with pytest.raises(EvaluationError, match="found no place denser"):
        walk(Flat(SHAPE, 17), *ends(), iterations=3)
