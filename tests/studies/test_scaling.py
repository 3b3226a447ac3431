import math

import pytest

from marscf.errors import EvaluationError
from marscf.studies.scaling import fit_exponent, levels_at, sequential_steps


def test_levels_keep_the_last_levels_side():
    levels = {side: levels_at(side, 32, 3) for side in (8, 16, 32, 64, 128)}
    assert levels == {8: 1, 16: 2, 32: 3, 64: 4, 128: 5}
    assert {side >> count for side, count in levels.items()} == {4}
    assert levels_at(2, 32, 3) == 1
    assert [levels_at(side, 32, 0) for side in (8, 32, 128)] == [0, 0, 0]


def test_sequential_steps_are_those_of_the_lemma_and_linear_in_the_side():
    assert sequential_steps(3, 3) == 2 * 3 + 4 * 3 + 16 * 3
    assert sequential_steps(1, 1) == 4
    for channels in (1, 3):
        steps = [sequential_steps(channels, levels_at(side, 32, 3)) for side in (8, 16, 32, 64, 128)]
        assert steps == [channels * (3 * side // 4 - 2) for side in (8, 16, 32, 64, 128)]


def test_exponent_of_a_power_law_is_exact():
    sizes = [8, 16, 32, 64] * 3
    exponent, low, high = fit_exponent(sizes, [5 * n**1.7 for n in sizes])
    assert exponent == pytest.approx(1.7)
    assert high - low < 1e-6 and low <= exponent <= high


def test_interval_is_students_and_ignores_the_number_of_repeats():
    from scipy.stats import linregress
    from scipy.stats import t as student

    sizes, times = [8, 16, 32, 64, 128], [1.0, 2.2, 3.9, 8.8, 15.0]
    known = linregress([math.log(n) for n in sizes], [math.log(time) for time in times])
    margin = student.ppf(0.975, 3) * known.stderr
    assert fit_exponent(sizes, times) == pytest.approx(
        (known.slope, known.slope - margin, known.slope + margin)
    )
    assert fit_exponent(sizes * 50, times * 50) == pytest.approx(fit_exponent(sizes, times))


@pytest.mark.parametrize(
    ("sizes", "times", "words"),
    [
        ([8, 16, 8], [1, 2, 1], "2 different sizes"),
        ([8, 16, 32], [1, 2, 0], "time 0"),
        ([8, 16, 32], [1, math.nan, 2], "time nan"),
        ([8, 16], [1, 2, 3], "2 sizes but 3 times"),
    ],
)
def test_what_has_no_exponent_is_refused(sizes, times, words):
    with pytest.raises(EvaluationError, match=words):
        fit_exponent(sizes, times)
