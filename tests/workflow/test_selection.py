"""What `--config` chooses, and the one line that answers a mistake."""

import re

import pytest

from marscf.code import behind
from marscf.evaluation.inception import INCEPTION_FILE, INCEPTION_FOLDER, RECORD
from marscf.files import write_json
from marscf.reporting.catalogue import products


def give_inception(checkout):
    """Put a file where Inception's weights are looked for."""
    path = checkout.root / INCEPTION_FOLDER / INCEPTION_FILE
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("weights")


def commands(checkout, *arguments):
    """The shell commands of a dry run, by their first words: `evaluate likelihood`, `sample data/…`."""
    result = checkout.snakemake("--dry-run", *arguments)
    lines = re.findall(r"^Shell command: marscf (.*)$", result.stdout + result.stderr, re.MULTILINE)
    assert lines
    return lines


@pytest.mark.parametrize("scale", ["quick", "laptop", "gpu-hour", "paper"])
def test_every_scale_passes_a_dry_run(checkout, scale):
    give_inception(checkout)
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
        (["images=7"], ["images", "8"]),
        (["images=all"], ["images", "'all'"]),
    ],
)
def test_a_mistake_ends_in_one_line(checkout, settings, words):
    result = checkout.snakemake("--dry-run", "--config", *settings, check=False)
    assert result.returncode == 2
    lines = [line for line in result.stderr.splitlines() if line.startswith("snakemake: ")]
    assert len(lines) == 1 and all(word in lines[0] for word in words)
    assert result.stderr.splitlines()[-1] == lines[0]
    assert "Traceback" not in result.stderr


def test_fewer_images_reach_every_measurement(checkout):
    lines = commands(checkout, "--forceall", "--config", "images=8", "systems=marscf-affine,marscf-mixlogcdf")
    kinds = (
        "evaluate likelihood",
        "evaluate fidelity",
        "evaluate floor",
        "study interpolate",
        "study latents",
    )
    for kind in kinds:
        found = [line for line in lines if line.startswith(kind)]
        assert found and all(" --images 8 --report " in line for line in found), kind
    assert [line for line in lines if line.startswith("sample") and " -n 8 " in line]
    assert [line for line in lines if line.startswith("study sampling-speed") and " --repeats 2 " in line]
    for line in commands(checkout, "--forceall", "--config", "images=1000", "systems=glow"):
        assert not line.startswith("evaluate likelihood") or " --images 64 " in line  # no more than the scale


def test_no_value_is_read_by_a_shell(fresh_checkout):
    root = fresh_checkout.root
    mirror = f"{root}/a mirror; touch harmed"
    lines = commands(
        fresh_checkout, "--config", f"mirror={mirror}", "device=cpu; touch harmed", "systems=glow"
    )
    assert not [line for line in lines if "harmed" in line.replace("--device 'cpu; touch harmed'", "")]
    (root / mirror / "mnist").mkdir(parents=True)
    manifest = "data/datasets/mnist/manifest.json"
    result = fresh_checkout.snakemake(manifest, "--config", f"mirror={mirror}", "scale=laptop", check=False)
    text = (root / "logs" / "data" / "mnist.log").read_text()
    assert result.returncode and f"no file {mirror}/mnist/" in text  # the mirror was asked
    assert not (root / "harmed").exists()


def test_a_run_that_other_code_trained_is_said_once_and_stays(fresh_checkout):
    run = "data/runs/quick/digits/glow/seed0"
    call = ("--dry-run", "--config", "systems=glow")
    for code, said in (("of an edited model", 1), (behind("train", "multiscale_flow.MultiScaleFlow"), 0)):
        write_json(fresh_checkout.root / run / "finished.json", {"code": code})
        result = fresh_checkout.snakemake(*call)
        line = f"snakemake: {run} was trained by other code than there is now; marscf train {run} --again"
        assert result.stderr.splitlines().count(line) == said


def test_without_inception_there_is_a_report_without_fid_until_the_weights_are_there(fresh_checkout):
    selection = ("--config", "scale=gpu-hour", "systems=marscf-mixlogcdf", "offline=true")
    result = fresh_checkout.snakemake(str(RECORD), *selection)
    assert INCEPTION_FILE in result.stdout + result.stderr  # on the terminal
    fidelity = {
        "data/runs/gpu-hour/mnist/marscf-mixlogcdf/seed0/fidelity.json",
        "data/runs/gpu-hour/mnist/floor.json",
        "reports/gpu-hour/tables/table_fidelity.csv",
        "reports/gpu-hour/figures/fig12_interpolation_scores.png",
    }
    planned = fresh_checkout.planned(*selection)
    assert "reports/gpu-hour/index.html" in planned and not fidelity & planned
    lines = [line for line in commands(fresh_checkout, *selection) if line.startswith("study interpolate")]
    assert lines and all("--no-scores" in line for line in lines)
    give_inception(fresh_checkout)
    assert fidelity <= fresh_checkout.planned(*selection)
    assert not [line for line in commands(fresh_checkout, *selection) if "--no-scores" in line]


def test_check_asks_for_the_measurements_not_only_for_the_table_that_git_has(fresh_checkout):
    (
        fresh_checkout.root / "reports" / "quick" / "metrics.csv"
    ).touch()  # newer than everything, as after git clone
    planned = fresh_checkout.planned("check", "--config", "systems=glow,histogram")
    assert "data/runs/quick/digits/glow/seed0/receipt.json" in planned
    assert "reports/quick/metrics.csv" in planned
