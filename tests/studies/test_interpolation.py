import math

import pytest
import torch
from two_modes import BRIGHT, DARK, TwoModes

from marscf.errors import EvaluationError
from marscf.models.multiscale_flow import MultiScaleFlow
from marscf.studies.interpolation import (
    Descent,
    Ends,
    Units,
    describe_points,
    mean_square,
    objective,
    relax,
)

SHAPE = (1, 4, 4)
PLAIN = Units([1.0], 1.0)


class Normal(TwoModes):
    """The identity with a standard normal prior: J is a parabola."""

    def latent_log_prob(self, latents):
        z = latents[0].flatten(1)
        return -z.square().sum(1) / 2 - self.dims / 2 * math.log(2 * math.pi)


def full(*values):
    return [torch.tensor(values, dtype=torch.float64).view(-1, 1, 1, 1).expand(-1, *SHAPE).clone()]


def make_ends(model, pairs=1, noise=0.05, at=(DARK, BRIGHT), units=PLAIN):
    """Ends of pairs, the first near the dark mode, the second near the bright one."""
    generator = torch.Generator().manual_seed(1)
    draw = noise * torch.randn(2, pairs, *SHAPE, generator=generator)
    return Ends.of(model, [at[0] + draw[0]], [at[1] + draw[1]], units)


def walk(model, ends, points=9, **descent):
    """The line's inner points, where they are moved to, and each one's own ends."""
    each = ends.repeat(points - 2)
    line = ends.line(torch.linspace(0, 1, points)[1:-1])
    return line, relax(model, line, each, Descent(**descent)), each


def make_flow(coupling="affine", prior="mar"):
    """A small flow of two levels with random weights, and the latents of four images."""
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
    return model, model.encode(images)


def test_straight_line_starts_and_ends_exactly():
    ends = make_ends(TwoModes(SHAPE, 17), pairs=3)
    line = ends.line(torch.linspace(0, 1, 5))[0].unflatten(0, (3, 5))
    assert torch.equal(line[:, 0], ends.latents[0][0]) and torch.equal(line[:, -1], ends.latents[1][0])
    torch.testing.assert_close(line[:, 2], (ends.latents[0][0] + ends.latents[1][0]) / 2)


def test_objectives_are_what_the_formulas_say():
    model = Normal(SHAPE, 17).double()
    ends = Ends.of(model, full(1.0), full(-2.0), Units([0.5], 4.0))
    z, line = full(-0.5), full(0.1)
    log_density = -0.125 - 0.5 * math.log(2 * math.pi)  # a dimension
    value, log_prob = objective(model, z, line, ends, Descent(0.3, 0.7, "unbounded"))
    assert log_prob.item() == pytest.approx(16 * log_density)
    assert value.item() == pytest.approx((0.6 / 0.5) ** 2 - 0.3 * log_density + 0.7 * (1.5 / 4) ** 2)
    value, _ = objective(model, z, line, ends, Descent(0.3, 0.7, "unbounded", "two-term"))
    assert value.item() == pytest.approx(-0.3 * log_density + 0.7 * (1.5 / 0.5) ** 2)
    value, log_prob = objective(model, z, line, ends, Descent(0.3, 0.7, "ignored"))
    assert log_prob is None and value.item() == pytest.approx((0.6 / 0.5) ** 2 + 0.7 * (1.5 / 4) ** 2)
    # The denser end is at 1: -0.5 is denser, -1.5 is not.
    bound = -0.5 - 0.5 * math.log(2 * math.pi)
    value, _ = objective(model, z, line, ends, Descent(1.0, 0.0))
    assert value.item() == pytest.approx((0.6 / 0.5) ** 2 - bound)
    value, _ = objective(model, full(-1.5), line, ends, Descent(1.0, 0.0))
    assert value.item() == pytest.approx((1.6 / 0.5) ** 2 + 1.125 + 0.5 * math.log(2 * math.pi))


@pytest.mark.parametrize(("weight", "pull"), [(0.5, 0.5), (2.0, 0.1), (0.0, 1.0), (3.0, 0.0)])
def test_descent_ends_at_the_minimum(weight, pull):
    model = Normal(SHAPE, 17).double()
    ends = Ends.of(model, full(0.4), full(-0.6), Units([0.5], 0.8))
    line = full(0.1)  # nearer to the first end
    moved = relax(model, line, ends, Descent(weight, pull, "unbounded", iterations=2000))
    own, pulled = 1 / 0.5**2, pull / 0.8**2
    least = (own * 0.1 + pulled * 0.4) / (own + weight / 2 + pulled)
    torch.testing.assert_close(moved, full(least), atol=1e-4, rtol=0)


def test_two_terms_end_at_their_minimum_and_only_their_ratio_matters():
    model = Normal(SHAPE, 17).double()
    ends = Ends.of(model, full(0.4), full(-0.6), Units([0.5], 0.8))
    for factor in (1, 3):
        weights = (0.5 * factor, 0.2 * factor)
        moved = relax(model, full(0.1), ends, Descent(*weights, "unbounded", "two-term", iterations=3000))
        least = 0.2 / 0.25 * 0.4 / (0.5 / 2 + 0.2 / 0.25)
        torch.testing.assert_close(moved, full(least), atol=1e-4, rtol=0)


@pytest.mark.parametrize("density", ["typical", "unbounded", "ignored"])
def test_without_weights_the_straight_line_stays_to_the_bit(density):
    model, latents = make_flow()
    units = Units([0.3, 0.7], 0.4)
    ends = Ends.of(model, [z[0::2] for z in latents], [z[1::2] for z in latents], units)
    line, moved, _ = walk(model, ends, density_weight=0.0, ends_weight=0.0, density=density)
    assert all(torch.equal(a, b) for a, b in zip(line, moved, strict=True))


def test_the_last_iterate_is_reported_whatever_it_is():
    model = Normal(SHAPE, 17).double()
    ends = Ends.of(model, full(0.4), full(-0.6), PLAIN)
    # Adamax's first step is the learning rate's, towards 0: it goes far past, to where J is higher.
    moved = relax(model, full(0.1), ends, Descent(0.5, 0.0, "unbounded", iterations=1, learning_rate=3.0))
    torch.testing.assert_close(moved, full(0.1 - 3.0), atol=1e-4, rtol=0)


@pytest.mark.parametrize("weight", [0.2, 5.0, 100.0])
@pytest.mark.parametrize("objective", ["three-term", "two-term"])
def test_typical_density_is_never_passed(weight, objective):
    model = TwoModes(SHAPE, 17)
    ends = make_ends(model, pairs=4)
    weights = {"density_weight": weight, "ends_weight": 0.1, "objective": objective}
    line, moved, each = walk(model, ends, **weights)
    start, end = model.latent_log_prob(line), model.latent_log_prob(moved)
    bound = torch.maximum(start, each.log_prob)
    assert (end <= bound + 1e-3).all()
    assert (moved[0] != line[0]).any()
    if weight > 1:
        assert (end > start + 10).any()  # density does count below
        unbounded = walk(model, ends, **weights, density="unbounded")[1]
        assert (model.latent_log_prob(unbounded) > bound + 1).any()  # what the bound prevents


def test_a_point_that_starts_denser_than_its_ends_may_not_get_denser():
    model = TwoModes(SHAPE, 17, deviation=2.0)  # a single wide mode at 0, the ends are far out
    line, moved, each = walk(
        model, make_ends(model, noise=0, at=(-3.0, 3.0)), density_weight=5.0, ends_weight=0.5
    )
    start = model.latent_log_prob(line)
    assert (start > each.log_prob).all()
    assert (model.latent_log_prob(moved) <= start).all()
    assert (each.image_distance(model.decode(moved)) < each.image_distance(model.decode(line))).all()


def test_moved_points_leave_the_saddle_where_the_straight_line_stays():
    model = TwoModes(SHAPE, 17)
    ends = make_ends(model, noise=0)
    line, moved, each = walk(
        model, ends, density_weight=0.35, ends_weight=0.35, density="unbounded", iterations=300
    )
    saddle = 3  # the middle point: equally far from both modes, where the gradient of log p(z) is zero
    before, after = model.latent_log_prob(line)[saddle], model.latent_log_prob(moved)[saddle]
    assert before < each.log_prob[saddle] - 50 and after > before + 30
    distances = [
        mean_square([z[0][saddle : saddle + 1]], end, [1.0])
        for z in (line, moved)
        for end in ([ends.latents[0][0]], [ends.latents[1][0]])
    ]
    assert distances[0].item() == pytest.approx(distances[1].item(), rel=1e-4)
    assert distances[2] < distances[0] < distances[3]  # of a tie, to the first end


def test_points_move_independently_of_their_batch():
    model = TwoModes(SHAPE, 17)
    ends = make_ends(model, pairs=3)
    own = Ends.of(model, [ends.latents[0][0][1:2]], [ends.latents[1][0][1:2]], PLAIN)
    weights = {"density_weight": 0.35, "ends_weight": 0.35}
    together = walk(model, ends, **weights)[1][0].unflatten(0, (3, -1))
    torch.testing.assert_close(together[1], walk(model, own, **weights)[1][0])


@pytest.mark.parametrize("objective", ["three-term", "two-term"])
@pytest.mark.parametrize("density", ["typical", "unbounded"])
def test_images_do_not_depend_on_a_latents_scale(objective, density):
    model, latents = make_flow()

    class Scaled:
        """The same density of images, with latents of the first level ten times as large."""

        dims = model.dims

        def decode(self, z):
            return model.decode([z[0] / 10, z[1]])

        def latent_log_prob(self, z):
            return model.latent_log_prob([z[0] / 10, z[1]]) - z[0][0].numel() * math.log(10)

    both = []
    for flow, factor in ((model, 1), (Scaled(), 10)):
        scaled = [factor * latents[0], latents[1]]
        units = Units([0.3 * factor, 0.7], 0.4)
        ends = Ends.of(flow, [z[0::2] for z in scaled], [z[1::2] for z in scaled], units)
        weights = {"density_weight": 0.5, "ends_weight": 0.5, "objective": objective, "density": density}
        line, moved, each = walk(flow, ends, points=6, **weights)  # none in the middle: no tie
        distances = [mean_square(moved, line, units.latents), each.image_distance(flow.decode(moved))]
        both.append([flow.decode(moved), flow.decode(line), *distances])
    for plain, scaled in zip(*both, strict=True):
        torch.testing.assert_close(scaled, plain, atol=1e-6, rtol=1e-6)
    assert (both[0][0] - both[0][1]).abs().max() > 0.01  # they did move


def test_distance_is_to_the_nearer_end_and_differentiable_at_a_tie():
    model = Normal((1, 2, 2), 17)
    ends = Ends.of(model, [torch.zeros(1, 1, 2, 2)], [torch.ones(1, 1, 2, 2)], Units([0.5], 0.25))
    at = torch.full((1, 1, 2, 2), 0.75)
    assert ends.latent_distance([at]).item() == pytest.approx(0.0625 / 0.25)
    assert ends.image_distance(at).item() == pytest.approx(0.0625 / 0.0625)
    middle = torch.full((1, 1, 2, 2), 0.5, requires_grad=True)
    ends.latent_distance([middle]).sum().backward()
    assert (middle.grad == 2 * 0.5 / 0.25 / 4).all()  # towards the first end, not 0


def test_a_density_that_is_no_number_is_an_error_in_words():
    class Broken(TwoModes):
        def latent_log_prob(self, latents):
            return super().latent_log_prob(latents) * float("nan")

    model = Broken(SHAPE, 17)
    with pytest.raises(EvaluationError, match="not finite after 0 iterations"):
        walk(model, make_ends(model), density_weight=0.2, ends_weight=0.2, iterations=3)


@pytest.mark.parametrize(
    ("coupling", "prior"), [("affine", "gaussian"), ("affine", "mar"), ("mixlogcdf", "mar")]
)
def test_a_multi_scale_flows_latents_move_together(coupling, prior):
    model, latents = make_flow(coupling, prior)
    units = Units([0.3, 0.7], 0.4)
    ends = Ends.of(model, [z[0::2] for z in latents], [z[1::2] for z in latents], units)
    descent = {"density_weight": 1.0, "ends_weight": 1.0, "iterations": 20}
    line, moved, each = walk(model, ends, points=5, **descent, density="unbounded")
    before, after = (describe_points(model, z, line, each)[1] for z in (line, moved))
    assert all((a != b).flatten(1).any(1).all() for a, b in zip(line, moved, strict=True))  # at every level
    steps = Descent(**descent, density="unbounded")
    lower = objective(model, moved, line, each, steps)[0] < objective(model, line, line, each, steps)[0]
    assert lower.all()
    assert (before[:, 2] == 0).all() and (after[:, 2] > 0).all()
    torch.testing.assert_close(after[:, 0], model.latent_log_prob(moved))
    torch.testing.assert_close(after[:, 1], model.log_density(model.decode(moved)))
