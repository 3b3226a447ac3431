"""What is declared of each table and figure is what the workflow, the notebook and the page go by."""

import json
import re
import subprocess
import sys
from pathlib import Path

import pytest

from marscf.code import sources
from marscf.config import load_config
from marscf.config.schemas import SampleFigure
from marscf.errors import ConfigError, MarscfError
from marscf.reporting import catalogue
from marscf.reporting.catalogue.product import METRICS, Plan, Product, every, imported
from marscf.reporting.collect import collect
from marscf.reporting.index import write_index
from marscf.reporting.tables import Cell, Table
from marscf.runs import Run, run_config

REPOSITORY = Path(__file__).parents[2]
NOTEBOOK = REPOSITORY / "workflow" / "notebooks" / "product.ipynb"
NAMES = list(catalogue.products())


def plan(scale="quick", systems=None, **change):
    """All runs of a scale, or those of some systems, as the workflow selects them."""
    config = load_config()
    the_scale = config.scale(scale)
    runs = [
        str(Run(scale, dataset, system, seed).path)
        for dataset in the_scale.datasets
        for system in systems or config.systems
        for seed in config.seeds(scale, system)
    ]
    return Plan(the_scale.model_copy(update=change), {run: run_config(run) for run in runs})


@pytest.fixture
def here(monkeypatch):
    monkeypatch.chdir(REPOSITORY)


def test_reading_it_imports_none_of_what_draws(here):
    code = "import sys, marscf.reporting.catalogue; print(*sys.modules)"
    loaded = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout
    assert not {"pandas", "matplotlib", "torch", "numpy"} & set(loaded.split())


@pytest.mark.parametrize("name", NAMES)
def test_every_entry_has_a_function_that_draws_it_and_a_text_that_explains_it(name):
    product = catalogue.product(name)
    assert callable(imported(product.draw))
    for words in ("**Shown.**", "**Measured.**", "**To conclude.**"):
        assert words in product.text


@pytest.mark.parametrize("name", NAMES)
def test_the_code_behind_an_entry_is_that_of_its_function(name):
    draw = catalogue.product(name).draw
    found = sources("figures", draw)
    assert {draw.rpartition(".")[0], "marscf.reporting.metrics"} <= set(found)
    assert "marscf.reporting.latents" not in found or name == "latent_correlation"


def test_no_two_entries_have_a_name():
    assert len(NAMES) == sum(map(len, catalogue.SECTIONS.values()))


@pytest.mark.parametrize("scale", ["quick", "laptop", "gpu-hour", "paper"])
def test_every_entry_is_planned_at_every_scale_with_files_that_some_stage_makes(here, scale):
    found = catalogue.planned(plan(scale))
    assert list(found) == NAMES
    for product in found.values():
        assert product.files(plan(scale))
        assert all(file.startswith(("reports/", "data/runs/")) for file in product.files(plan(scale)))


def test_what_a_selection_has_no_data_for_is_not_planned(here):
    def left_out(**change):
        return set(NAMES) - set(catalogue.planned(plan(**change)))

    speed = {"fig07_sampling_speed", "table_sampling_speed", "table_sampling_growth"}
    runs = {"fig09_cifar10_samples", "fig11_interpolation", "fig12_interpolation_scores"}
    others = {"fig08_mnist_samples", "fig10_imagenet32_samples", "table_interpolation", "latent_correlation"}
    assert left_out(systems=["histogram"]) == speed | runs | others
    unjudged = load_config().scale("quick").evaluation
    unjudged = unjudged.model_copy(
        update={"fidelity": unjudged.fidelity.model_copy(update={"extractor": "none"})}
    )
    assert left_out(evaluation=unjudged) == {"table_fidelity", "fig12_interpolation_scores"}


def test_a_system_is_shown_by_its_first_seed(here):
    shown = catalogue.product("fig08_mnist_samples").about(plan())
    assert shown == [f"data/runs/quick/digits/{name}/seed0" for name in ("residual-flow", "marscf-mixlogcdf")]
    assert len(catalogue.product("training_curves").about(plan(systems=["residual-flow"]))) == 3


def test_a_misspelt_figure_of_a_scale_is_named(here):
    figures = {"fig08_mnist_sample": SampleFigure(dataset="digits", systems=["glow"])}
    with pytest.raises(
        ConfigError, match=r"scales/quick\.yaml: figures: 'fig08_mnist_sample' .* did you mean"
    ):
        catalogue.planned(plan(figures=figures))
    with pytest.raises(MarscfError, match="did you mean 'training_curves'"):
        catalogue.product("training_curve")


@pytest.fixture
def shown(workdir, another_run, monkeypatch):
    """Make all that the working directory has data for; return it by name, and the page."""

    def show():
        runs = [*workdir, *(another_run(name, 1.9, 0) for name in ("residual-flow", "marscf-mixlogcdf"))]
        collect("quick", runs)
        the_plan = Plan(load_config().scale("quick"), {run: run_config(run) for run in runs})
        found = catalogue.planned(the_plan)
        for product in found.values():
            out = product.outputs("quick")[0].rpartition(".")[0]
            product.save(product.make("quick", product.about(the_plan)), out)
        return found, write_index("quick").read_text()

    return show


def test_every_entry_is_on_the_page_under_its_section(shown):
    found, page = shown()
    assert set(NAMES) - set(found) <= {"fig09_cifar10_samples", "fig10_imagenet32_samples"}
    for heading, products in catalogue.SECTIONS.items():
        section = page.split(f"<h2>{heading}</h2>")[1].split("</section>")[0]
        names = re.findall(r'<article id="(\w+)">', section)
        assert names == [product.name for product in products if product.name in found]


def rows(metrics):
    return Table("How many rows", ["rows"], [[Cell(str(len(metrics)))]])


ADDED = Product(
    name="table_rows",
    kind="table",
    title="Rows",
    draw=f"{__name__}.rows",
    inputs=METRICS,
    about=every,
    text="**Shown.** Their number.",
)


def test_an_entry_alone_adds_a_table_to_the_page(shown, monkeypatch):
    monkeypatch.setitem(catalogue.SECTIONS, "More", [ADDED])
    found, page = shown()
    assert found["table_rows"] is ADDED
    section = page.split("<h2>More</h2>")[1].split("</section>")[0]
    assert '<p class="caption">How many rows</p>' in section and "<td" in section
    assert "<b>Shown.</b> Their number." in section


def test_notebook_is_tidy_and_takes_its_parameters():
    notebook = json.loads(NOTEBOOK.read_text())
    assert notebook["metadata"]["kernelspec"]["name"] == "python3"
    assert "language_info" in notebook["metadata"]
    (tagged,) = (c for c in notebook["cells"] if "parameters" in c["metadata"].get("tags", []))
    assert re.findall(r"^(\w+) = ", "".join(tagged["source"]), re.MULTILINE) == [
        "name",
        "scale",
        "runs",
        "out",
    ]
    code = [cell for cell in notebook["cells"] if cell["cell_type"] == "code"]
    assert all(not cell["outputs"] and cell["execution_count"] is None for cell in code)


@pytest.mark.parametrize("by_hand", [False, True])
def test_notebook_runs_under_papermill(workdir, by_hand):
    collect("quick", workdir)
    Path("notebooks").mkdir()
    command = [sys.executable, "-m", "papermill", NOTEBOOK, "executed.ipynb", "--no-progress-bar"]
    command += ["-r", "name", "table_likelihood"]
    if by_hand:  # only the name is set, in another folder of the repository
        command += ["--cwd", "notebooks"]
    else:
        command += ["-r", "scale", "quick", "-r", "out", "tables/it", "-r", "runs", " ".join(workdir)]
    subprocess.run(command, check=True, capture_output=True)
    executed = Path("executed.ipynb").read_text()
    assert "mAR-SCF (affine)" in executed and "# Bits per dimension" in executed
    assert Path("tables/it.csv").is_file() is not by_hand
    if not by_hand:
        assert "1.8" in Path("tables/it.csv").read_text()
        assert "mAR-SCF (affine)" in Path("tables/it.html").read_text()
