"""The extrapolations as a table and a figure, beside the published numbers."""

import math
import statistics
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from marscf.config import load_config, resolve
from marscf.reporting import sources, style
from marscf.reporting.extrapolation import (
    BEGINNING,
    LEAST,
    PREFIXES,
    Curve,
    fit,
    outlook,
    read_curve,
    settled,
    value,
)
from marscf.reporting.metrics import pretty, rounded
from marscf.reporting.published import Published, published_numbers
from marscf.reporting.tables import Cell, Table, anchor
from marscf.runs import Run, run_config

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

FULL_SIZE = "paper"  # the scale with each paper's own budget
FEW = f"fewer than {LEAST} validations after the first {BEGINNING:.0%} of the images"
NO_BUDGET = f"scale {FULL_SIZE} does not train this system on this dataset"


def budget_of(run: Run) -> float | None:
    """How many images scale `paper` trains a system on, None where it has no such dataset or system.

    A variant of a dataset, such as `mnist` of `mnist-rgb`, counts as the dataset.
    """
    known = load_config()
    datasets = known.scale(FULL_SIZE).datasets
    family = [name for name in datasets if name.partition("-")[0] == run.dataset.partition("-")[0]]
    if not family or run.system not in known.systems:
        return None
    dataset = run.dataset if run.dataset in family else family[0]
    training = resolve(known, FULL_SIZE, dataset, run.system, 0).training
    return float(training.steps * training.batch_size)


def published_for(run: Run) -> Published | None:
    """The number that a system's paper prints for this dataset, from a training of its own."""
    dims = run_config(run.path).data.dims
    of = (run.dataset, run.system, "bits_per_dim", "", dims)
    found = (
        entry
        for entry in published_numbers()
        if (entry.dataset, entry.system, entry.metric, entry.weights, entry.dims) == of
    )
    return next(found, None)


def _by_system(runs: Sequence[str]) -> dict[tuple[str, str], list[Curve]]:
    found: dict[tuple[str, str], list[Curve]] = {}
    for run in runs:
        if (curve := read_curve(run)) is not None:
            of = Run.from_path(run)
            found.setdefault((of.dataset, of.system), []).append(curve)
    return found


def table(runs: Sequence[str]) -> Table:
    """What each system's curve says of its paper's budget."""
    columns = ["dataset", "system", "images seen", "validation bits/dim"]
    columns += [f"error of a fit to {part} of it" for part in PREFIXES.values()]
    columns += ["images at scale paper", "extrapolated there", "interval", "published", "says"]
    found = Table(
        "Extrapolations, not measurements: bits/dim at the images of scale paper, by a + b·images^(-c)",
        columns,
    )
    for (dataset, system), curves in _by_system(runs).items():
        run = Run.from_path(curves[0].run)
        place = anchor(vars(run))
        cells = [Cell(sources.dataset_title(dataset), dataset), Cell(sources.system_title(system), system)]
        budget = budget_of(run)
        seen = outlook(curves, budget or curves[0].images[-1])
        if seen is None:
            found.rows.append([*cells, *[Cell("–", "")] * 8, Cell("can't say", "can't say", note=FEW)])
            continue
        spread = statistics.stdev(seen.reached) if len(curves) > 1 else None
        cells.append(_number("images_seen", seen.seen, place))
        cells.append(_number("bits_per_dim", statistics.fmean(seen.reached), place, spread))
        for errors in seen.errors.values():
            worst = max(errors, key=abs, default=None)
            cells.append(Cell("–", "") if worst is None else Cell(f"{worst:+.3f}", worst, kind="number"))
        if budget is None:
            found.rows.append([*cells, *[Cell("–", "")] * 4, Cell("can't say", "can't say", note=NO_BUDGET)])
            continue
        entry = published_for(run)
        says, why = seen.verdict(None if entry is None else entry.value)
        cells.append(_number("images_seen", budget))
        cells.append(_number("bits_per_dim", seen.middle))
        interval = f"{rounded(seen.low)} to {rounded(seen.high)}" if math.isfinite(seen.high) else "unknown"
        cells.append(Cell(interval, interval, kind="number"))
        cells.append(Cell("–", "") if entry is None else Cell(entry.text, entry.value, kind="number"))
        found.rows.append([*cells, Cell(says, says, note=why)])
    return found


def _number(metric: str, number: float, run: str | None = None, spread: float | None = None) -> Cell:
    return Cell(pretty(metric, number, spread), number, run, kind="number")


def figure(runs: Sequence[str]) -> "Figure":
    """Draw validations over images, on a logarithmic axis, and the fits up to the budget."""
    from matplotlib import pyplot
    from matplotlib.lines import Line2D

    style.use()
    found = _by_system(runs)
    datasets = list(dict.fromkeys(dataset for dataset, _ in found))
    if not datasets:
        drawn = pyplot.figure(figsize=(style.COLUMN, 1))
        drawn.text(0.5, 0.5, "no system here has validations", ha="center", va="center")
        return drawn
    looks = style.looks(list(dict.fromkeys(system for _, system in found)))
    size = (style.PAGE, 2.6 * len(datasets) + 0.6)
    drawn, grid = pyplot.subplots(len(datasets), 1, figsize=size, squeeze=False)
    for axes, dataset in zip(grid[:, 0], datasets, strict=True):
        own = {system: curves for (of, system), curves in found.items() if of == dataset}
        for system, curves in own.items():
            _draw(axes, curves, looks[system])
        late = [curve.late().bits for curves in own.values() for curve in curves]
        axes.set(xscale="log", xlabel="images trained on", ylabel="validation bits/dim")
        shown = np.concatenate([*late, *(line.get_ydata()[-1:] for line in axes.lines)])
        axes.set_ylim(0.95 * shown.min(), shown.max())
        axes.set_title(style.text(sources.dataset_title(dataset)), loc="left")
    handles = [Line2D([], [], **looks[name], label=style.text(sources.system_title(name))) for name in looks]
    handles.append(Line2D([], [], color="grey", ls=":", label="extrapolated, with its interval"))
    handles.append(Line2D([], [], color="black", marker="_", ms=9, ls="", label="published"))
    drawn.legend(handles=handles, loc="outside lower center", ncols=3)
    return drawn


def _draw(axes: "Axes", curves: list[Curve], look: dict[str, Any]) -> None:
    for curve in curves:
        axes.plot(curve.images, curve.bits, ms=3, markevery=style.every(len(curve.bits)), **look)
    run = Run.from_path(curves[0].run)
    budget = budget_of(run)
    seen = None if budget is None else outlook(curves, budget)
    if budget is None or seen is None:
        return
    for curve in curves:
        part = settled(curve)
        assert part is not None  # else no outlook
        grid = np.geomspace(curve.images[-1], budget, 60)
        axes.plot(grid, value(fit(part.images, part.bits), grid), ls=":", lw=1, color=look["color"])
    if math.isfinite(seen.high):
        ends = [[seen.middle - seen.low], [seen.high - seen.middle]]
        axes.errorbar([budget], [seen.middle], yerr=ends, color=look["color"], capsize=2, lw=1)
    if (entry := published_for(run)) is not None:
        axes.plot([budget], [entry.value], "_", ms=9, color=look["color"])
