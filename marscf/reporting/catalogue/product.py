"""What an entry of the catalogue says of a table or figure, and what of a selection it can ask for.

Nothing here imports pandas, matplotlib or torch: Snakemake reads the catalogue each time it starts.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from importlib import import_module
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from marscf import seals
from marscf.config import Interpolation, Scale, load_config
from marscf.errors import MarscfError, full_disk
from marscf.runs import Run
from marscf.settings import RunConfig

if TYPE_CHECKING:
    from matplotlib.figure import Figure

    from marscf.reporting.tables import Table

METRICS = "metrics.csv"
SWEEP = "sampling_speed.csv"

#: A file of reports/SCALE that a table or figure is made from -> the function that reads it.
REPORT_FILES = {
    METRICS: "marscf.reporting.collect.read_metrics",
    SWEEP: "marscf.reporting.speed.read_sweep",
}

Runs = Sequence[str]  # folders, data/runs/SCALE/DATASET/SYSTEM/seedK


@dataclass(frozen=True)
class Plan:
    """What was selected: a scale, and the runs at it with their configs."""

    scale: Scale
    runs: Mapping[str, RunConfig]  # folder -> config

    def datasets(self) -> list[str]:
        """Names of the datasets of the runs."""
        return list(dict.fromkeys(_names(run)[0] for run in self.runs))

    def run_of(self, dataset: str, system: str) -> list[str]:
        """The run that represents its system in figures and studies: its first seed. `[]` if not selected."""
        found = (run for run in self.runs if _names(run) == (dataset, system))
        return list(islice(found, 1))

    def timed(self) -> list[str]:
        """Names of the systems whose sampling is timed."""
        settings = self.scale.studies.sampling_speed
        # published checkpoints are of what their authors chose: not every system has one for every dataset
        only = (settings.dataset or self.scale.datasets[0]) if self.scale.published else None
        systems = dict.fromkeys(system for data, system in map(_names, self.runs) if only in (None, data))
        return [name for name in systems if name not in settings.exclude]

    def interpolated(self) -> dict[str, Interpolation]:
        """The runs of the interpolation study, with their settings."""
        studies = self.scale.studies.interpolation
        return {run: study for study in studies for run in self.run_of(study.dataset, study.system)}


def _names(run: str) -> tuple[str, str]:
    of = Run.from_path(run)
    return of.dataset, of.system


# ---- which runs a table or figure is about; none means that it is not made


def every(plan: Plan) -> Runs:
    """All runs."""
    return list(plan.runs)


def timed(plan: Plan) -> Runs:
    """Runs of the systems whose sampling is timed."""
    systems = plan.timed()
    return [run for run in plan.runs if _names(run)[1] in systems]


def judged(plan: Plan) -> Runs:
    """The runs whose samples are compared with real images: their scale and dataset have an extractor."""
    datasets = load_config().datasets
    on = {name: plan.scale.evaluation_on(datasets.get(name)).fidelity for name in plan.datasets()}
    return [run for run in plan.runs if on[_names(run)[0]].extractor != "none"]


def interpolated(plan: Plan) -> Runs:
    """Runs of the interpolation study."""
    return list(plan.interpolated())


def scored(plan: Plan) -> Runs:
    """Runs of the interpolation study that have a classifier for its images."""
    return [run for run in interpolated(plan) if run in judged(plan)]


def with_prior(plan: Plan) -> Runs:
    """Runs of models with a prior that can be chosen."""
    return [run for run, config in plan.runs.items() if "prior" in config.options]


def shown_in(name: str) -> Callable[[Plan], Runs]:
    """Runs that the scale lists under `figures` for the figure of this name."""

    def runs(plan: Plan) -> Runs:
        if (figure := plan.scale.figures.get(name)) is None:
            return []
        return [run for system in figure.systems for run in plan.run_of(figure.dataset, system)]

    return runs


# ---- the entry


@dataclass(frozen=True)
class Product:
    """One table or figure.

    `inputs` is a file of reports/SCALE, `METRICS` or `SWEEP`, or the names of files in each run's folder.
    `draw` is the full name of the function that makes the figure or table. It gets what `inputs` says: the
    content of the report's file as a pandas DataFrame, or the folders of the runs. `about` says which runs
    those are.
    `text` is Markdown: what is shown, how it was measured, what the paper has, what to conclude.
    """

    name: str
    kind: Literal["figure", "table"]
    title: str
    draw: str
    inputs: str | tuple[str, ...]
    about: Callable[[Plan], Runs]
    text: str

    def files(self, plan: Plan) -> list[str]:
        """The files that it is made from, and the seals of those that have one."""
        of_report = isinstance(self.inputs, str)
        folders: Sequence[str] = [f"reports/{plan.scale.name}"] if of_report else self.about(plan)
        inputs = (self.inputs,) if isinstance(self.inputs, str) else self.inputs
        sealed = dict.fromkeys((*inputs, *(seals.OF[file] for file in inputs if file in seals.OF)))
        return [f"{folder}/{file}" for folder in folders for file in sealed]

    def outputs(self, scale: str) -> list[str]:
        """The files that it becomes."""
        suffixes = ("png", "svg") if self.kind == "figure" else ("csv", "html")
        return [f"reports/{scale}/{self.kind}s/{self.name}.{suffix}" for suffix in suffixes]

    def make(self, scale: str, runs: Runs) -> "Figure | Table":
        """Draw it."""
        draw = imported(self.draw)
        if isinstance(self.inputs, str):
            return draw(imported(REPORT_FILES[self.inputs])(Path("reports") / scale / self.inputs))
        return draw(runs)

    def save(self, drawn: "Figure | Table", out: str) -> None:
        """Write what was drawn, to `out` with the suffixes of its kind."""
        save = {"figure": "marscf.reporting.style.save", "table": "marscf.reporting.tables.save"}
        try:
            imported(save[self.kind])(drawn, out)
        except OSError as error:
            if not (reason := full_disk(error)):
                raise
            raise MarscfError(f"cannot write {out}: disk full: {reason}; make room, draw again") from error


def imported(name: str) -> Callable[..., Any]:
    """The function of this full name."""
    module, _, function = name.rpartition(".")
    return getattr(import_module(module), function)
