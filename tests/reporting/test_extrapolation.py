"""Power laws through training curves: right on laws that are known, and careful on those that are not."""

import numpy as np
import pytest

from marscf.config import load_config, resolve
from marscf.reporting import extrapolation_drawn
from marscf.reporting.extrapolation import WIDEST, Curve, Outlook, fit, outlook, trial_error, value

IMAGES = np.linspace(1000, 40_000, 40)
LAWS = [(3.0, 40.0, 0.5), (0.0, 8.0, 0.1), (2.5, 900.0, 1.0)]


def curve(law, noise=0.0, seed=0, end=40):
    bits = value(np.array(law), IMAGES) + noise * np.random.default_rng(seed).normal(size=40)
    return Curve("data/runs/quick/digits/glow/seed0", IMAGES[:end], bits[:end])


@pytest.mark.parametrize("law", LAWS)
def test_a_known_law_is_found(law):
    found = fit(IMAGES, value(np.array(law), IMAGES))
    further = IMAGES[-1] * np.array([1, 10, 100])
    np.testing.assert_allclose(value(found, further), value(np.array(law), further), rtol=0.02)


def test_many_fits_at_once_are_those_one_by_one():
    bits = np.stack([curve(law, 0.01, seed).bits for seed, law in enumerate(LAWS)])
    np.testing.assert_allclose(fit(IMAGES, bits), [fit(IMAGES, row) for row in bits])


def test_bits_per_dim_are_never_below_0_and_never_rise():
    falling = value(fit(IMAGES, np.linspace(3.0, 0.1, 40)), 1e12)
    assert falling >= 0
    rising = fit(IMAGES, np.linspace(1.0, 2.0, 40))
    assert value(rising, 1e9) == pytest.approx(1.5)  # the constant nearest to it


def test_a_trial_on_a_part_of_a_power_law_is_right_and_on_another_curve_is_not():
    assert trial_error(curve(LAWS[0]), 2) == pytest.approx(0, abs=0.01)
    bent = Curve("run", IMAGES, np.where(IMAGES > 20_000, 2.0, 4.0) - IMAGES * 1e-6)
    assert trial_error(bent, 2) > 1.5  # predicted above what was reached
    assert trial_error(curve(LAWS[0], end=8), 2) is None


def test_the_interval_holds_the_truth_and_grows_with_the_distance_and_the_scatter():
    law, curves = np.array(LAWS[0]), [curve(LAWS[0], 0.01, seed) for seed in range(3)]
    near, far = (outlook(curves, budget) for budget in (1e5, 1e7))
    for seen in (near, far):
        assert seen.low <= value(law, seen.budget) <= seen.high
        assert len(seen.errors[2]) == len(seen.errors[4]) == 3
    noisier = outlook([curve(LAWS[0], 0.05, seed) for seed in range(3)], 1e5)
    widths = [seen.high - seen.low for seen in (near, far, noisier)]
    assert widths[0] < widths[1] and widths[0] < widths[2]


def test_too_short_a_curve_gives_nothing():
    assert outlook([curve(LAWS[0]), curve(LAWS[0], end=4)], 1e6) is None
    assert outlook([], 1e6) is None


@pytest.mark.parametrize(
    ("low", "high", "published", "says"),
    [
        (3.0, 3.2, 3.1, "on course"),
        (3.0, 3.2, 3.4, "on course"),
        (3.0, 3.2, 2.9, "short"),
        (3.0, 3.1 + WIDEST, 3.1, "can't say"),
        (0.0, float("inf"), 3.1, "can't say"),
        (3.0, 3.2, None, "can't say"),
    ],
)
def test_what_is_said_of_a_published_number(low, high, published, says):
    seen = Outlook([3.3], 1e5, {}, 1e6, 3.1, low, high)
    assert seen.verdict(published)[0] == says


def test_the_table_has_a_row_per_system_and_says_that_it_extrapolates(workdir):
    table = extrapolation_drawn.table(workdir)
    rows = {row[1].value: dict(zip(table.columns, row, strict=True)) for row in table.rows}
    assert set(rows) == {"glow", "marscf-affine"}  # a histogram is not trained
    assert "not measurements" in table.caption
    glow = rows["glow"]
    assert glow["images seen"].value == 64 * 600
    assert glow["validation bits/dim"].value == pytest.approx(1.90 + 35 / 600)
    assert glow["says"].text == "can't say" and "scale paper" in glow["says"].note  # it has no digits


def test_the_budget_is_that_of_scale_paper(workplace):
    from marscf.runs import Run

    of = extrapolation_drawn.budget_of
    assert of(Run("laptop", "cifar10", "marscf-mixlogcdf", 0)) == 312_000 * 64  # 400 epochs of 49,920 images
    for system in ("residual-flow", "glow"):
        training = resolve(load_config(), "paper", "mnist-rgb", system, 0).training
        assert of(Run("laptop", "mnist", system, 0)) == training.steps * training.batch_size
    assert of(Run("quick", "digits", "glow", 0)) is None
    assert extrapolation_drawn.published_for(Run("laptop", "cifar10", "glow", 0)).text == "3.35"
    assert extrapolation_drawn.published_for(Run("laptop", "mnist", "glow", 0)) is None
