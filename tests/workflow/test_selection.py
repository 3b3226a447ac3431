"""What `--config` chooses, and the one line that answers a mistake."""

import pytest

from marscf.reporting.catalogue import products


@pytest.mark.parametrize("scale", ["quick", "laptop", "gpu-hour", "paper"])
def test_every_scale_passes_a_dry_run(checkout, scale):
    planned = checkout.planned("--config", f"scale={scale}", "--forceall")
    assert f"reports/{scale}/index.html" in planned
    for product in products().values():
        assert set(product.outputs(scale)) <= planned


def test_an_entry_of_the_catalogue_and_its_function_are_all_that_a_new_table_needs(fresh_checkout):
    section = fresh_checkout.root / "marscf" / "reporting" / "catalogue" / "training.py"
    entry = """    Product(
        name="table_mine",
        kind="table",
        title="Mine",
        draw="marscf.reporting.mine.table",
        inputs=("receipt.json",),
        about=every,
        text="**Shown.** What I want to know.",
    ),
]
"""
    section.write_text(section.read_text().removesuffix("]\n") + entry)
    (section.parents[1] / "mine.py").write_text("def table(runs):\n    return runs\n")
    planned = fresh_checkout.planned("--config", "systems=histogram")
    assert {"reports/quick/tables/table_mine.csv", "reports/quick/tables/table_mine.html"} <= planned


def test_systems_and_datasets_narrow_what_is_run(checkout):
    planned = checkout.planned(
        "--forceall", "--config", "scale=laptop", "datasets=mnist", "systems=marscf-affine,histogram"
    )
    runs = {
        name.removesuffix("/receipt.json")
        for name in planned
        if name.startswith("data/runs") and "receipt" in name
    }
    assert runs == {
        *(f"data/runs/laptop/mnist/marscf-affine/seed{seed}" for seed in (0, 1, 2)),
        "data/runs/laptop/mnist/histogram/seed0",
    }
    assert not [name for name in planned if "cifar10" in name.replace("fig09_cifar10", "")]


@pytest.mark.parametrize(
    ("settings", "words"),
    [
        (["scale=quik"], ["'quik'", "did you mean 'quick'"]),
        (["systems=glow,marscf-afine"], ["'marscf-afine'", "did you mean 'marscf-affine'"]),
        (["datasets=mnits", "scale=laptop"], ["'mnits'", "did you mean 'mnist'"]),
        (["sytems=glow"], ["'sytems'", "did you mean 'systems'"]),
        (["offline=maybe"], ["offline", "'maybe'"]),
    ],
)
def test_a_mistake_ends_in_one_line(checkout, settings, words):
    result = checkout.snakemake("--dry-run", "--config", *settings, check=False)
    assert result.returncode == 2
    lines = [line for line in result.stderr.splitlines() if line.startswith("snakemake: ")]
    assert len(lines) == 1 and all(word in lines[0] for word in words)
    assert result.stderr.splitlines()[-1] == lines[0]
    assert "Traceback" not in result.stderr


def test_check_asks_for_the_measurements_not_only_for_the_table_that_git_has(fresh_checkout):
    (
        fresh_checkout.root / "reports" / "quick" / "metrics.csv"
    ).touch()  # newer than everything, as after git clone
    planned = fresh_checkout.planned("check", "--config", "systems=glow,histogram")
    assert "data/runs/quick/digits/glow/seed0/receipt.json" in planned
    assert "reports/quick/metrics.csv" in planned
