"""DVC around the workflow: a clone that pulled runs nothing again; experiments set any key of the config."""

import base64
import json
import shutil

import pytest

pytestmark = pytest.mark.long


@pytest.fixture(scope="module")
def published(new_checkout, tmp_path_factory):
    """A git repository with a small tiny report committed and its data pushed to a DVC remote."""
    origin = new_checkout(tmp_path_factory.mktemp("origin"))
    shutil.rmtree(origin.root / "reports")  # of the real scale
    origin.change("config/config.yaml", {"systems": "glow,histogram"})
    origin.snakemake()
    git(origin, "init", "--quiet", "--initial-branch=main")
    sign(origin)
    origin.call("dvc", "remote", "add", "--default", "store", str(tmp_path_factory.mktemp("store")))
    version(origin, "the tiny report")
    return origin


def version(checkout, message):
    """Commit everything to DVC and git, and push the data."""
    checkout.call("dvc", "commit", "--force")
    git(checkout, "add", "--all")
    git(checkout, "commit", "--quiet", f"--message={message}")
    checkout.call("dvc", "push")


def sign(checkout):
    git(checkout, "config", "user.name", "A Tester")
    git(checkout, "config", "user.email", "tester@example.org")


def git(checkout, *arguments):
    return checkout.call("git", *arguments).stdout


@pytest.fixture
def clone(published, tmp_path):
    """A clone elsewhere, with `dvc pull` done."""
    return cloned(published, tmp_path / "clone")


def cloned(published, path):
    git(published, "clone", "--quiet", str(published.root), str(path))
    clone = type(published)(path)
    sign(clone)
    clone.call("dvc", "pull")
    return clone


def test_nothing_heavy_is_in_git(published):
    tracked = git(published, "ls-files").splitlines()
    assert not [name for name in tracked if name.startswith(("data/", ".snakemake/"))]
    assert {"reports/quick/metrics.csv", "reports/quick/metrics.json", "dvc.lock"} <= set(tracked)


def test_a_clone_that_pulled_trains_nothing_and_remakes_the_figures(clone):
    planned = clone.planned()
    assert planned
    assert all(name.split("/")[2].startswith(("figures", "tables", "index", "summary")) for name in planned)
    clone.snakemake()
    assert not clone.planned()
    assert "up to date" in clone.call("dvc", "status").stdout


def test_figures_of_before_are_drawn_again_after_a_pull(published, clone, tmp_path):
    clone.snakemake()
    other = cloned(published, tmp_path / "other")
    other.change("config/scales/quick.yaml", {"evaluation": {"draws": 2}})
    other.snakemake()
    version(other, "another number")
    git(clone, "pull", "--quiet", str(other.root), "main")
    clone.call("dvc", "pull")
    planned = clone.planned()
    assert {"reports/quick/tables/table_likelihood.csv", "reports/quick/index.html"} <= planned
    assert not any(name.startswith("data/") for name in planned)


def test_what_snakemake_knows_of_a_file_is_versioned_where_the_file_is(published):
    folders = [f"reports/{scale}/" for scale in ("quick", "laptop", "cpu-hours", "gpu-hour", "mine")]
    kept = ["metrics.csv", "metrics.json", "sampling_speed.csv"]
    left = [
        "figures/fig07_sampling_speed.png",
        "tables/table_sampling_speed.csv",
        "index.html",
        "summary.txt",
    ]

    def names(files):
        paths = [folder + file for folder in folders for file in files]
        return [f".snakemake/metadata/{base64.urlsafe_b64encode(path.encode()).decode()}" for path in paths]

    found = published.call("dvc", "check-ignore", *names(kept), *names(left)).stdout.split()
    assert found == names(left)


def test_one_changed_key_runs_only_what_depends_on_it(clone):
    clone.change("config/scales/quick.yaml", {"evaluation": {"draws": 2}})
    planned = {name for name in clone.planned() if name.startswith("data/")}
    assert planned and {name.rsplit("/", 1)[1] for name in planned} == {"likelihood.json", "likelihood.npz"}


def test_repro_runs_nothing_when_nothing_changed(published):
    result = published.call("dvc", "repro")
    assert "didn't change, skipping" in result.stdout


def test_metrics_plots_and_params(published):
    shown = json.loads(published.call("dvc", "metrics", "show", "--json").stdout)
    values = next(iter(shown.values()))["data"]["reports/quick/metrics.json"]["data"]
    assert values["digits"]["histogram"]["seed0"]["bits_per_dim"] > 0
    published.call("dvc", "plots", "show", "--out", "plots")
    assert (published.root / "plots" / "index.html").is_file()
    assert "glow" in published.call("dvc", "params", "diff", "--all").stdout


def test_every_file_of_the_config_can_be_set_by_an_experiment(published):
    from marscf.config import read_yaml

    listed = read_yaml(published.root / "dvc.yaml")["params"]
    files = {str(path.relative_to(published.root)) for path in (published.root / "config").rglob("*.yaml")}
    files.remove("config/tuning.yaml")  # of `marscf tune`, which is no part of the workflow
    sources = ("config/datasets/", "config/checkpoints/")  # what is fetched, and not how it is used
    assert set(listed) == {name for name in files if not name.startswith(sources)}


def test_an_experiment_sets_a_key_and_runs_what_depends_on_it(clone):
    before = json.loads((clone.root / "reports/quick/metrics.json").read_text())
    clone.call(
        "dvc", "exp", "run", "--name", "slower", "--set-param", "config/scales/quick.yaml:evaluation.draws=2"
    )
    after = json.loads((clone.root / "reports/quick/metrics.json").read_text())
    assert set(before["digits"]) == set(after["digits"])
    changed = (
        before["digits"]["glow"]["seed0"]["bits_per_dim"],
        after["digits"]["glow"]["seed0"]["bits_per_dim"],
    )
    assert changed[0] != changed[1]
    assert "evaluation.draws" in clone.call("dvc", "params", "diff").stdout
    assert "bits_per_dim" in clone.call("dvc", "metrics", "diff").stdout
    assert "slower" in clone.call("dvc", "exp", "show", "--no-pager", "--only-changed").stdout
