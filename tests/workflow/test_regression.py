"""A mistake put into a copy of the package makes `snakemake check` fail and name the cells; chance does not.

Glow and the histogram on all the digits' test images, trained just long enough for a regression to show. And
two runs on one machine give the same numbers.
"""

import csv
import shutil

import pytest

from marscf.reporting.metrics import metric_of
from marscf.reporting.regression import FAILING

pytestmark = pytest.mark.long

NARROWED = ("--config", "systems=glow,histogram")
LOG_DET = "marscf/flows/coupling.py", "sigmoid(scale) + shift, ", "sigmoid(scale) + shift, -"
LAST_BATCH = (
    "marscf/evaluation/likelihood.py",
    "    count = len(images)\n",
    "    images = images[: len(images) // batch_size * batch_size]\n    count = len(images)\n",
)


def edit(checkout, file, old, new):
    """Replace the only place where a file has `old`."""
    path = checkout.root / file
    text = path.read_text()
    assert text.count(old) == 1
    path.write_text(text.replace(old, new))


@pytest.fixture(scope="module")
def accepted(new_checkout, tmp_path_factory):
    """A checkout whose own measurements are its reference."""
    checkout = new_checkout(tmp_path_factory.mktemp("accepted"))
    checkout.change(
        "config/scales/quick.yaml",
        {
            "training": {"steps": 200, "learning_rate": 6e-3, "validate_every": 100},
            "evaluation": {"images": None, "batch_size": 100, "fidelity": {"extractor": "none"}},
            "studies": {"sampling_speed": {"exclude": ["glow", "histogram"]}},
        },
    )
    shutil.rmtree(checkout.root / "reports")  # what git has there was measured at the real scale
    checkout.snakemake("reports/quick/metrics.csv", *NARROWED)
    checkout.call("marscf", "check", "--accept", "the first measurements")
    return checkout


@pytest.fixture
def copy(accepted, tmp_path):
    """A copy of it, to be spoilt."""
    return type(accepted)(shutil.copytree(accepted.root, tmp_path / "copy", symlinks=True))


def failing(checkout):
    """The cells that fail, said by `snakemake check` and `marscf check`: {(run, metric): (verdict, why)}."""
    first = checkout.snakemake("check", *NARROWED, check=False)
    again = checkout.call("marscf", "check", check=False)
    assert bool(first.returncode) == bool(again.returncode)
    assert again.stdout in first.stdout
    rows = [[cell.strip() for cell in line.split("|")[1:-1]] for line in again.stdout.splitlines()]
    cells = {(row[1], row[2]): (row[0], row[5]) for row in rows if row and row[0] in FAILING}
    assert bool(cells) == bool(again.returncode), again.stdout + again.stderr
    return cells


def rows(checkout):
    with open(checkout.root / "reports" / "quick" / "metrics.csv", newline="") as stream:
        return list(csv.DictReader(stream))


GLOW = "digits/glow/seed0"


def test_what_was_accepted_passes(accepted):
    assert failing(accepted) == {}


@pytest.mark.parametrize("weights", ["kept", "trained again"])
def test_a_wrong_sign_in_a_log_determinant(copy, weights):
    edit(copy, *LOG_DET)
    if weights == "trained again":
        shutil.rmtree(copy.root / "data" / "runs")
    cells = failing(copy)
    assert {(GLOW, "bits_per_dim"), (GLOW, "nats_per_image")} <= set(cells)
    assert {run for run, _ in cells} == {GLOW}


def test_a_learning_rate_of_zero(copy):
    copy.change("config/scales/quick.yaml", {"training": {"learning_rate": 0.0}})
    refused = copy.snakemake("check", *NARROWED, check=False)
    assert refused.returncode == 2 and "learning_rate" in refused.stderr.splitlines()[-1]
    copy.change("config/scales/quick.yaml", {"training": {"learning_rate": 1e-30}})
    cells = failing(copy)
    assert {(GLOW, "bits_per_dim"), (GLOW, "nats_per_image")} <= set(cells)
    assert {run for run, _ in cells} == {GLOW}


def test_a_dropped_test_batch(copy):
    edit(copy, *LAST_BATCH)
    cells = failing(copy)
    bits = {run: why for (run, metric), (_, why) in cells.items() if metric == "bits_per_dim"}
    assert set(bits) == {GLOW, "digits/histogram/seed0"}
    assert all("n = 300, the reference over 360" in why for why in bits.values())


def test_another_seed_is_no_regression(copy):
    copy.change("config/scales/quick.yaml", {"seeds": [1]})
    assert failing(copy) == {}
    assert {row["seed"] for row in rows(copy) if row["metric"] == "bits_per_dim"} == {"1"}


def test_two_runs_give_the_same_numbers(new_checkout, tmp_path):
    tables = []
    for name in ("once", "again"):
        checkout = new_checkout(tmp_path / name)
        shutil.rmtree(checkout.root / "reports")
        checkout.change("config/systems/flowpp.yaml", {"scales": {"quick": {"options": {"dropout": 0.2}}}})
        checkout.change(
            "config/scales/quick.yaml", {"studies": {"sampling_speed": {"exclude": ["glow", "flowpp"]}}}
        )
        checkout.snakemake("reports/quick/metrics.csv", "--config", "systems=glow,flowpp")
        tables.append([row for row in rows(checkout) if metric_of(row["metric"]).better != "none"])
    once, again = tables
    assert {row["system"] for row in once} == {"glow", "flowpp", "real"}
    assert once == again
