"""The fixed points of contractions: inverses of residual blocks."""

import pytest
import torch

from marscf.errors import EvaluationError
from marscf.flows.residual import TOLERANCES, fixed_point


def orthogonal(n, generator):
    return torch.linalg.qr(torch.randn(n, n, dtype=torch.double, generator=generator))[0]


def contraction(kind, bound, n=12):
    """A map of Lipschitz constant `bound`, and its fixed point, for a batch of 5."""
    generator = torch.Generator().manual_seed(0)
    point = torch.randn(5, n, dtype=torch.double, generator=generator)
    turn = bound * orthogonal(n, generator)
    inner = {
        "linear": lambda d: d,
        "kinked": lambda d: torch.where(d > 0, d, -0.3 * d),
        "curved": torch.sin,
        "flat": lambda d: 0 * d,
    }[kind]
    return lambda x: point + inner(x - point) @ turn.T, point


@pytest.mark.parametrize("bound", [0.5, 0.9, 0.98])
@pytest.mark.parametrize("kind", ["linear", "kinked", "curved", "flat"])
def test_it_is_found_within_the_tolerance_and_never_later_than_without_mixing(kind, bound):
    step, point = contraction(kind, bound)
    calls = []
    found = fixed_point(lambda x: calls.append(1) or step(x), torch.zeros_like(point), bound)
    # The bound is of the Euclidean norm, the tolerance of the largest entry.
    assert (found - point).norm(dim=1).max() <= TOLERANCES[torch.double] * point.shape[1] ** 0.5
    x, plain = torch.zeros_like(point), 1
    while bound / (1 - bound) * (step(x) - x).abs().max() > TOLERANCES[torch.double]:
        x, plain = step(x), plain + 1
    assert len(calls) <= plain + 3


def test_mixing_saves_most_iterations_of_a_slow_contraction():
    step, point = contraction("linear", 0.98, n=4)
    calls = []
    fixed_point(lambda x: calls.append(1) or step(x), torch.zeros_like(point), 0.98)
    assert len(calls) <= 12  # plainly more than 1,000


def test_an_image_does_not_depend_on_the_others_mixing():
    step, point = contraction("curved", 0.9)
    start = torch.zeros_like(point)
    together = fixed_point(step, start, 0.9)
    alone = [
        fixed_point(lambda x, k=k: step(x.expand(5, -1).clone())[k : k + 1], start[k : k + 1], 0.9)
        for k in range(5)
    ]
    torch.testing.assert_close(together, torch.cat(alone), rtol=0, atol=2 * TOLERANCES[torch.double])


def test_a_swing_that_plain_steps_never_leave_is_settled_by_mixing():
    found = fixed_point(lambda x: 1 - x, torch.zeros(1, 1, 2, 2), 0.9)
    torch.testing.assert_close(found, torch.full((1, 1, 2, 2), 0.5))


def test_what_does_not_settle_is_an_error():
    with pytest.raises(EvaluationError, match="still moves"):
        fixed_point(lambda x: x + 1, torch.ones(2, 3), 0.98)
    with pytest.raises(EvaluationError, match="still moves"):
        fixed_point(lambda x: x * torch.inf, torch.ones(2, 3), 0.98)
