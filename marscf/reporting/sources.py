"""What figures and the page read about a run: names as printed, images, numbers."""

from collections.abc import Iterable
from pathlib import Path
from typing import Any

import numpy as np

from marscf import seals
from marscf.config import load_config
from marscf.data.arrays import open_split
from marscf.evaluation.measured import read_measurements
from marscf.images import stretched
from marscf.reporting.catalogue.product import METRICS, Plan
from marscf.reporting.collect import REAL, read_metrics, reports
from marscf.reporting.metrics import pretty
from marscf.runs import RECEIPT, Run, read_receipt, run_config

MARK = "†"  # of a system that the paper does not have; a * would be emphasis in Markdown


def system_title(name: str) -> str:
    """A system's name as printed; one that the paper does not have is marked."""
    if name == REAL:
        return "Real images"
    known = load_config().systems
    title = known[name].title if name in known else name
    return title if in_paper(name) else f"{title} {MARK}"


def in_paper(name: str) -> bool:
    """Whether the paper has a system; one without a file in `config/systems` is not marked."""
    known = load_config().systems
    return name not in known or known[name].in_paper


def control_of(name: str) -> str | None:
    """The system that one is a control of, with as many images; None where it is none."""
    known = load_config().systems
    return known[name].control_of if name in known else None


def explained(names: Iterable[str]) -> str:
    """What the mark of systems says, for the end of a caption; nothing where none has it."""
    return "" if all(map(in_paper, names)) else f"; {MARK} not in the paper"


def dataset_title(name: str) -> str:
    """A dataset's name as printed."""
    known = load_config().datasets
    return known[name].title if name in known else name


def run_title(run: Run) -> str:
    """A run's name as printed."""
    return f"{system_title(run.system)}, {dataset_title(run.dataset)}, {training_of(run)}"


def training_of(run: Run) -> str:
    """Which training of its system a run is: its seed, or the file that its weights were imported from."""
    receipt = run.path / RECEIPT
    origin = read_receipt(run.path).get("imported_from") if receipt.is_file() else None
    return origin or f"seed {run.seed}"


def measured_plan(scale: str) -> Plan:
    """A scale with the runs that its `metrics.csv` has: those with a number of parameters."""
    metrics = read_metrics(reports(scale) / METRICS)
    trained = metrics[metrics["metric"] == "parameters"]
    paths = [Run(scale, *row).path for row in trained[["dataset", "system", "seed"]].itertuples(index=False)]
    return Plan(load_config().scale(scale), {str(path): run_config(path) for path in paths})


def measurement(run: str | Path, file: str, metric: str) -> dict[str, Any] | None:
    """A run's entry of a metric, or None where it was not measured."""
    path = Path(run) / file
    entries = read_measurements(path, Run.from_path(run)) if path.is_file() else []
    return next((entry for entry in entries if entry["metric"] == metric), None)


def measured(run: str | Path, file: str, metric: str) -> str | None:
    """A run's number with its standard error, as printed, or None where it was not measured."""
    entry = measurement(run, file, metric)
    return pretty(metric, entry["value"], entry["stderr"]) if entry else None


def samples(run: str | Path) -> np.ndarray:
    """A run's samples, `uint8 (n,C,H,W)`, grey levels stretched to 0 … 255."""
    path = Path(run) / "samples.npy"
    seals.unsealed(path, f"marscf sample {run} -n 64 --out {path}", seals.SAMPLES, Path(run))
    return visible(np.load(path, allow_pickle=False), run)


def real(run: str | Path, count: int) -> np.ndarray:
    """The first validation images of a run's dataset, `uint8 (n,C,H,W)`, grey levels stretched to 0 … 255."""
    return visible(open_split(Run.from_path(run).dataset, "val")[:count], run)


def visible(images: np.ndarray, run: str | Path) -> np.ndarray:
    """Images of a run's dataset with its grey levels stretched to 0 … 255, `uint8`."""
    return stretched(images, run_config(run).data.grey_levels)
