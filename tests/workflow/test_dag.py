"""The whole DAG, small: what it makes, and what it makes again when something changes."""

import json
import re

import pytest

from marscf.reporting.catalogue import products

PRODUCTS = products().values()
FIGURES = [product.name for product in PRODUCTS if product.kind == "figure"]
TABLES = [product.name for product in PRODUCTS if product.kind == "table"]


def systems(checkout):
    return sorted(path.stem for path in (checkout.root / "config" / "systems").glob("*.yaml"))


def test_everything_is_made(reproduced):
    report = reproduced.root / "reports" / "quick"
    for name in FIGURES:
        assert (report / "figures" / f"{name}.png").read_bytes()[:8] == b"\x89PNG\r\n\x1a\n"
        assert "<svg" in (report / "figures" / f"{name}.svg").read_text()[:2000]
    for name in TABLES:
        assert (report / "tables" / f"{name}.csv").read_text().count("\n") > 1
        assert "<table" in (report / "tables" / f"{name}.html").read_text()
    assert "<html" in (report / "index.html").read_text()
    rows = (report / "metrics.csv").read_text().splitlines()[1:]
    measured = {tuple(row.split(",")[1:3]) for row in rows if ",bits_per_dim," in row}
    assert measured == {("digits", system) for system in systems(reproduced)}


def test_snakemake_s_own_report_has_every_figure_and_table(reproduced, tmp_path):
    page = tmp_path / "report.html"
    reproduced.snakemake("--report", str(page))
    text = page.read_text()
    assert all(name in text for name in (*FIGURES, *TABLES, "The page to read"))


def test_a_second_call_starts_no_job(reproduced):
    result = reproduced.call("make", "reproduce", "--old-file=.venv/.ready")
    assert "Nothing to be done" in result.stdout + result.stderr
    assert "reports/quick/index.html" in result.stdout
    headlines = (reproduced.root / "reports" / "quick" / "summary.txt").read_text()
    assert headlines.strip() and headlines in result.stdout


def test_a_deleted_figure_is_remade_alone(reproduced):
    figure = reproduced.root / "reports" / "quick" / "figures" / "fig07_sampling_speed.png"
    before = figure.read_bytes()
    figure.unlink()
    made = {name for name in reproduced.planned() if "figures" in name}
    assert {name.rsplit("/", 1)[1] for name in made} == {
        "fig07_sampling_speed.png",
        "fig07_sampling_speed.svg",
    }
    whole_log = re.search("The whole log: (.*)", reproduced.snakemake().stderr)[1]
    text = (reproduced.root / whole_log).read_text()
    started = re.findall(r"^(?:local)?rule (\w+):", text, re.MULTILINE)
    assert sorted(started) == ["all", "figure", "index"]
    assert figure.read_bytes() == before


def planned_after(checkout, file, change):
    """What would be made after a change of a file of config/, which is taken back."""
    path = checkout.root / "config" / file
    original = path.read_text()
    checkout.change(f"config/{file}", change)
    try:
        return checkout.planned()
    finally:
        path.write_text(original)


@pytest.mark.parametrize(
    ("file", "change", "retrained", "kept"),
    [
        ("systems/glow.yaml", {"scales": {"quick": {"training": {"learning_rate": 1e-4}}}}, ["glow"], []),
        ("scales/quick.yaml", {"evaluation": {"draws": 2}}, [], ["samples.npy", "fidelity.json"]),
        ("scales/quick.yaml", {"evaluation": {"grid": 16}}, [], ["likelihood.json", "fidelity.json"]),
    ],
)
def test_a_change_runs_only_what_depends_on_it(reproduced, file, change, retrained, kept):
    planned = planned_after(reproduced, file, change)
    trained = {name.split("/")[-3] for name in planned if name.endswith("receipt.json")}
    assert trained == set(retrained)
    assert planned and not any(name.startswith("data/datasets") for name in planned)
    assert not [name for name in planned if name.rsplit("/", 1)[-1] in kept]
    if retrained:  # and measured again, it alone
        measured = {name.split("/")[-3] for name in planned if name.endswith("likelihood.json")}
        assert measured == set(retrained)


@pytest.mark.parametrize(
    ("file", "change"),
    [
        ("systems/glow.yaml", {"title": "GLOW"}),
        ("systems/glow.yaml", {"colour": "#112233"}),
        ("systems/glow.yaml", {"in_paper": False}),
        ("datasets/digits.yaml", {"title": "Figures"}),
        ("scales/quick.yaml", {"description": "small"}),
    ],
)
def test_a_change_of_words_draws_anew_and_measures_nothing(reproduced, file, change):
    planned = planned_after(reproduced, file, change)
    assert {"reports/quick/index.html", "reports/quick/tables/table_likelihood.html"} <= planned
    assert not any(name.startswith("data/") for name in planned)


def test_a_new_option_with_a_default_retrains_nothing(reproduced):
    """Nor does a new setting of training: what a run does not know of has its default."""
    changes = {
        "marscf/models/multiscale_flow.py": (
            "        logit_margin: Margin",
            "        extra: PositiveInt = 3,\n",
        ),
        "marscf/settings.py": ("    max_rollbacks: NonNegativeInt", "    extra: PositiveInt = 3\n"),
    }
    originals = {name: (reproduced.root / name).read_text() for name in changes}
    try:
        for name, (before, line) in changes.items():
            text = originals[name]
            assert text.count(before) == 1
            (reproduced.root / name).write_text(text.replace(before, line + before))
        planned = reproduced.planned()
    finally:
        for name, text in originals.items():
            (reproduced.root / name).write_text(text)
    assert not [name for name in planned if name.endswith("receipt.json")]
    assert [name for name in planned if name.endswith("glow/seed0/likelihood.json")]  # its code is another


def test_a_changed_learning_rate_retrains_that_system_alone(reproduced):
    path = reproduced.root / "config" / "systems" / "glow.yaml"
    original = path.read_text()
    receipts = {system: receipt(reproduced, system) for system in systems(reproduced)}
    reproduced.change(
        "config/systems/glow.yaml", {"scales": {"quick": {"training": {"learning_rate": 1e-4}}}}
    )
    try:
        reproduced.snakemake("models")
        now = {system: receipt(reproduced, system) for system in systems(reproduced)}
    finally:
        path.write_text(original)
        reproduced.snakemake()
    assert {system for system in now if now[system] != receipts[system]} == {"glow"}
    assert now["glow"]["config_hash"] != receipts["glow"]["config_hash"]


def test_a_finished_training_that_is_asked_for_again_is_not_done_again(reproduced):
    path = reproduced.root / "data" / "runs" / "quick" / "digits" / "glow" / "seed0"
    before, weights = receipt(reproduced, "glow"), (path / "weights.safetensors").stat()
    (path / "receipt.json").unlink()
    reproduced.snakemake("models")
    assert receipt(reproduced, "glow") == before
    assert (path / "weights.safetensors").stat().st_mtime_ns == weights.st_mtime_ns


def receipt(checkout, system):
    path = checkout.root / "data" / "runs" / "quick" / "digits" / system / "seed0" / "receipt.json"
    return json.loads(path.read_text())
