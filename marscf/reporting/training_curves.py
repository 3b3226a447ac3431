"""Training curves: bits/dim of training batches and of the validation images, a panel a run."""

import json
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from marscf.errors import MarscfError
from marscf.reporting import sources, style
from marscf.runs import Run

if TYPE_CHECKING:
    import pandas
    from matplotlib.figure import Figure

COLUMNS = 3
WARM = 0.05  # of the steps, left out where the range of the axis is chosen


def read_log(run: str) -> "pandas.DataFrame | None":
    """A run's `log.jsonl`, a row a record; None where nothing was trained (counted, or imported weights)."""
    import pandas

    path = Path(run) / "log.jsonl"
    try:
        records = [json.loads(line) for line in path.read_text().splitlines()]
    except FileNotFoundError:
        return None
    except ValueError as error:
        raise MarscfError(f"{path} is damaged ({error}); delete the run's folder and train again") from None
    frame = pandas.DataFrame(records)
    if "train_bits_per_dim" not in frame or frame["train_bits_per_dim"].isna().all():
        return None
    return frame


def curves(runs: Sequence[str]) -> "Figure":
    """Draw training and validation bits/dim over steps; the kept weights are marked. One y-axis a dataset."""
    import pandas
    from matplotlib import pyplot

    style.use()
    logs = {run: log for run in runs if (log := read_log(run)) is not None}
    if not logs:
        raise MarscfError("no run has a log.jsonl with training records; train one first")
    rows = -(-len(logs) // COLUMNS)
    columns = min(COLUMNS, len(logs))
    figure, grid = pyplot.subplots(rows, columns, figsize=(style.PAGE, 2.0 * rows), squeeze=False)
    ranges: dict[str, list[float]] = {}
    for run, log in logs.items():
        settled = log[log["step"] > WARM * log["step"].max()]
        values = pandas.concat([settled.get(name, log["train_bits_per_dim"]) for name in _COLOURS]).dropna()
        low, high = ranges.get(Run.from_path(run).dataset, [values.min(), values.min()])
        ranges[Run.from_path(run).dataset] = [min(low, values.min()), max(high, values.quantile(0.97))]
    for axes, (run, log) in zip(grid.flat, logs.items(), strict=False):
        of = Run.from_path(run)
        _panel(axes, log)
        axes.set_title(f"{sources.system_title(of.system)}\n{sources.dataset_title(of.dataset)}")
        low, high = ranges[of.dataset]
        axes.set_ylim(low - 0.06 * (high - low), high + 0.03 * (high - low))
    for axes in list(grid.flat)[len(logs) :]:
        axes.set_axis_off()
    for axes in grid[:, 0]:
        axes.set_ylabel("bits/dim")
    for axes in grid[-1]:
        axes.set_xlabel("step")
    handles, labels = grid[0][0].get_legend_handles_labels()
    figure.legend(handles, labels, loc="outside lower center", ncols=len(labels))
    return figure


_COLOURS = {"train_bits_per_dim": "#56B4E9", "validation_bits_per_dim": "#D55E00"}


def _panel(axes, log: "pandas.DataFrame") -> None:
    train, validation = _COLOURS
    steps = log.dropna(subset=[train])  # a validation is a record of its own
    axes.plot(steps["step"], steps[train], color=_COLOURS[train], lw=1, label="training batches")
    if validation not in log or log[validation].isna().all():
        return
    seen = log.dropna(subset=[validation])
    axes.plot(
        seen["step"],
        seen[validation],
        "o-",
        ms=2.5,
        color=_COLOURS[validation],
        label="validation (averaged weights)",
    )
    best = seen.loc[seen[validation].idxmin()]
    label = "kept weights"
    axes.plot(best["step"], best[validation], "*", ms=9, mec="white", mew=0.5, color="black", label=label)
