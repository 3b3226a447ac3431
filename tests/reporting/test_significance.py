import json
import math

import numpy as np
import pytest
import scipy.stats

from marscf.errors import MarscfError
from marscf.evaluation.measurements import PER_IMAGE, PerImage, write_per_image
from marscf.reporting.significance import difference, missing, per_image
from marscf.runs import Run

DIMS = 64


def run_of(system, seed, bits, data="d" * 64, dims=DIMS):
    """Write a run's bits/dim of each test image; return its row of `metrics.csv`."""
    run, bits = Run("quick", "digits", system, seed), np.asarray(bits, dtype=float)
    run.path.mkdir(parents=True, exist_ok=True)
    write_per_image(run.path, PerImage(-bits[:, None] * dims * math.log(2), 1, 0, dims, data))
    error = bits.std(ddof=1) / math.sqrt(len(bits))
    return {**vars(run), "metric": "bits_per_dim", "value": bits.mean(), "stderr": error}


@pytest.fixture(autouse=True)
def here(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)


BASE = np.array([1.0, 4.0, 2.0, 3.0])  # images differ by far more than the systems
GAINS = np.array([0.1, 0.3, 0.5, 0.7])  # of the first over the second: variance 1/15, over 4 images 1/60


def systems(*, seeds=3):
    ours = [run_of("ours", k, BASE + 0.1 * (k - 1)) for k in range(seeds)]
    theirs = [run_of("theirs", k, BASE + GAINS + 0.2 * (k - 1)) for k in range(seeds)]
    return ours, theirs


def test_error_is_of_paired_images_and_of_both_systems_seeds():
    found = difference(*systems())
    parts = {1 / 60: 3, 0.01 / 3: 2, 0.04 / 3: 2}  # variance -> degrees of freedom
    assert found.gain == pytest.approx(0.4)
    assert found.error == pytest.approx(math.sqrt(sum(parts)))
    freedom = sum(parts) ** 2 / sum(part**2 / degrees for part, degrees in parts.items())
    assert found.reach == pytest.approx(scipy.stats.t.ppf(0.975, freedom) * found.error)
    assert (found.seeds, found.images) == (3, 4)
    assert found.verdict == "open"  # 0.40 within ± 0.45
    assert difference(*systems()[::-1]).gain == pytest.approx(-0.4)


@pytest.mark.parametrize(("gain", "verdict"), [(0.05, "holds"), (-0.05, "fails"), (0.001, "open")])
def test_three_seeds_decide(gain, verdict):
    random = np.random.default_rng(0)
    base = random.normal(3, 1, 1000)
    ours = [run_of("ours", k, base + 0.005 * (k - 1)) for k in range(3)]
    theirs = [run_of("theirs", k, base + gain + random.normal(0, 0.01, 1000)) for k in range(3)]
    assert difference(ours, theirs).verdict == verdict


def test_a_claim_that_test_images_would_decide_is_open_where_seeds_spread_too_much():
    """The seeds are a hundred standard errors over the images apart."""
    base = np.random.default_rng(0).normal(3, 1, 10_000)
    ours = [run_of("ours", k, base + 0.05 * (k - 1)) for k in range(3)]
    theirs = [run_of("theirs", k, base + 0.02 + 0.05 * (k - 1)) for k in range(3)]
    assert difference(ours[:1], theirs[:1]).error == pytest.approx(0, abs=1e-9)
    assert difference(ours, theirs).verdict == "open"


@pytest.mark.parametrize(("seeds", "verdict"), [(1, "one-seed"), (2, "two-seeds")])
def test_fewer_seeds_decide_nothing(seeds, verdict):
    ours, theirs = systems()
    for pair in ((ours[:seeds], theirs), (ours, theirs[:seeds])):
        assert difference(*pair).verdict == verdict
    alone = difference(ours[1:2], theirs[1:2])
    assert alone.gain == pytest.approx(0.4)
    assert alone.error == pytest.approx(math.sqrt(1 / 60))  # of the test images, and said to be


def test_counted_system_needs_no_seeds():
    ours, theirs = systems()
    found = difference(ours, theirs[1:2], counted=True)
    assert found.seeds == 3 and found.verdict != "one-seed"
    assert found.error == pytest.approx(math.sqrt(1 / 60 + 0.01 / 3))
    assert difference(ours[:1], theirs[1:2], counted=True).verdict == "one-seed"


def test_metric_without_images_has_the_seeds_and_its_own_errors():
    rows = {"system": "glow", "metric": "inception_score", "stderr": 0.3}
    ours, theirs = ([{**rows, "value": mean + off} for off in (-0.2, 0, 0.2)] for mean in (7.0, 5.0))
    found = difference(ours, theirs)
    assert found.gain == pytest.approx(2.0)  # higher is better
    assert found.error == pytest.approx(math.sqrt(2 * 0.04 / 3 + 2 * 0.09 / 3))
    assert found.images is None and found.verdict == "holds"
    lower = [[{**row, "metric": "fid", "stderr": math.nan} for row in rows] for rows in (ours, theirs)]
    assert difference(*lower).gain == pytest.approx(-2.0)
    assert difference(*lower).error == pytest.approx(math.sqrt(2 * 0.04 / 3))


@pytest.mark.parametrize("change", [{"data": "e" * 64}, {"dims": 63}, {"bits": BASE[:3]}])
def test_other_test_images_are_refused_by_name(change):
    ours, _ = systems(seeds=1)
    theirs = [run_of("theirs", 0, **{"bits": BASE, **change})]
    with pytest.raises(MarscfError, match=r"ours/seed0/likelihood\.npz \(4 .*theirs/seed0/likelihood\.npz"):
        difference(ours, theirs)


def test_missing_stale_and_damaged_files_are_named():
    ours, theirs = systems(seeds=1)
    assert missing([*ours, *theirs]) is None
    with pytest.raises(MarscfError, match=r"ours/seed0/likelihood\.npz has 2\.4.*report collect"):
        per_image([{**ours[0], "value": 2.6}])
    path = Run("quick", "digits", "theirs", 0).path / PER_IMAGE
    path.write_text(json.dumps("no npz"))
    with pytest.raises(MarscfError, match="damaged"):
        difference(ours, theirs)
    path.unlink()
    assert missing([*ours, *theirs]) == str(path.parent)
    with pytest.raises(MarscfError, match="marscf evaluate likelihood data/runs/quick/digits/theirs/seed0"):
        difference(ours, theirs)
