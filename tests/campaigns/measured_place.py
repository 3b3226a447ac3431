"""Runs of a tiny scale `quick`, trained, measured and reported once: what the campaigns alter and kill."""

import contextlib
import io
import os
import resource
import shutil
import traceback
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import pytest
from tiny_checkout import REPOSITORY, make_tiny

from marscf.cli import main
from marscf.errors import MarscfError

SYSTEMS = {"histogram": 1, "glow": 1, "marscf-affine": 1, "marscf-mixlogcdf": 2}  # and how many seeds
RUNS = [f"data/runs/quick/digits/{name}/seed{seed}" for name, n in SYSTEMS.items() for seed in range(n)]
INTERPOLATED = RUNS[2]


@dataclass(frozen=True)
class Call:
    """What a call came to: its exit code (a signal's is negative), and what it said."""

    code: int
    out: str
    err: str

    @property
    def refused(self) -> bool:
        """Whether it ended in one line that names a command or what to do."""
        lines = self.err.strip().splitlines()
        return self.code == 2 and len(lines) == 1 and lines[0].startswith("marscf")


def call(*arguments: str) -> Call:
    """Run `marscf` in this process; a traceback is exit code 70."""
    out, err = io.StringIO(), io.StringIO()
    with contextlib.redirect_stdout(out), contextlib.redirect_stderr(err):
        try:
            code = main(list(arguments))
        except Exception:
            traceback.print_exc()
            code = 70
    return Call(code, out.getvalue(), err.getvalue())


def draw(name: str) -> Call:
    """Draw a table or figure, as its notebook does; an error is one line there too."""
    from marscf.reporting.catalogue import product
    from marscf.reporting.sources import measured_plan

    this, out = product(name), f"reports/quick/{product(name).kind}s/{name}"
    try:
        this.save(this.make("quick", this.about(measured_plan("quick"))), out)
    except MarscfError as error:
        return Call(2, "", f"marscf: {error}")
    except Exception:
        return Call(70, "", traceback.format_exc())
    finally:
        from matplotlib import pyplot

        pyplot.close("all")
    return Call(0, "", "")


def stages(run: str) -> list[list[str]]:
    """The measurements of a run, by their commands."""
    found = [
        ["evaluate", "likelihood", run],
        ["evaluate", "fidelity", run],
        ["sample", run, "-n", "9", "--out", f"{run}/samples.npy"],
    ]
    if "histogram" not in run:
        found.append(["study", "latents", run])
    if run == INTERPOLATED:
        found.append(["study", "interpolate", run])
    return found


SWEEP = ["study", "sampling-speed", "--scale", "quick", "--systems", "glow,marscf-affine,marscf-mixlogcdf"]
COLLECT = ["report", "collect", "--scale", "quick", "--runs", *RUNS]
INDEX = ["report", "index", "--scale", "quick"]
DRAWN = (
    *("fig07_sampling_speed", "fig08_mnist_samples", "fig11_interpolation", "fig12_interpolation_scores"),
    *("latent_correlation", "training_curves", "table_equal_time", "table_interpolation"),
)


@pytest.fixture(scope="session")
def whole(tmp_path_factory) -> Path:
    """A folder where all was trained, measured and reported; not to be changed."""
    root = tmp_path_factory.mktemp("whole")
    shutil.copytree(REPOSITORY / "config", root / "config")
    make_tiny(root / "config")
    with contextlib.chdir(root):
        calls = [["data", "digits"], ["evaluate", "extractor", "digits"]]
        calls += [["train", run] for run in RUNS] + [stage for run in RUNS for stage in stages(run)]
        calls += [["evaluate", "floor", "data/runs/quick/digits"], SWEEP, COLLECT]
        for arguments in calls:
            done = call(*arguments)
            assert done.code == 0, f"{' '.join(arguments)}: {done.err}"
        for name in DRAWN:
            assert (done := draw(name)).code == 0, f"{name}: {done.err}"
        assert call(*INDEX).code == 0
        assert call("check", "--scale", "quick", "--accept", "the first").code == 0
    return root


@pytest.fixture
def measured(whole, tmp_path, monkeypatch) -> Path:
    """A copy of it, as the working directory."""
    here = tmp_path / "measured"
    shutil.copytree(whole, here)
    monkeypatch.chdir(here)
    return here


def forked(action: Callable[[], Call], said: Path, before: Callable[[], None] | None = None) -> int:
    """Start an action in a fork of this process, `before` first; return its number.

    What it says goes to the file `said`. A fork has torch imported already, and is killed without harm.
    """
    number = os.fork()
    if number:
        return number
    code = 70
    try:
        if before:
            before()
        done = action()
        resource.setrlimit(resource.RLIMIT_FSIZE, (resource.RLIM_INFINITY, resource.RLIM_INFINITY))
        said.write_text(done.err)
        code = done.code
    finally:
        os._exit(code)


def ended(number: int) -> int:
    """Wait for a fork; return its exit code, negative for a signal."""
    return os.waitstatus_to_exitcode(os.waitpid(number, 0)[1])
