"""Training curves, over images, FLOPs and minutes, and what systems reach in equal times."""

import json
import math
import statistics
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from marscf.errors import MarscfError
from marscf.files import sha256_file
from marscf.reporting import sources, style
from marscf.reporting.collect import training_minutes
from marscf.reporting.metrics import pretty
from marscf.reporting.tables import Cell, Table, anchor
from marscf.runs import RECEIPT, Run, read_receipt

if TYPE_CHECKING:
    import pandas
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

WARM = 0.05  # share of the steps, at the start, that the range of the axis leaves out
SMOOTH = 0.05  # share of the training records in one running median
TRAIN, VALIDATION = "train_bits_per_dim", "validation_bits_per_dim"
X_AXES = {"images": "images trained on", "flops": "FLOPs of training", "minutes": "minutes of training"}
QUARTERS = {0.25: "¼ T", 0.5: "½ T", 0.75: "¾ T", 1.0: "T"}


def read_records(run: str | Path) -> list[dict[str, Any]]:
    """The records of a run's `log.jsonl`, none without it; raises `MarscfError` where it is damaged."""
    path, stated = Path(run) / "log.jsonl", None
    again = f"run: marscf train {run} --again"
    if (Path(run) / RECEIPT).is_file():
        stated = read_receipt(run).get("log_sha256")  # older receipts do not have it
    if not path.is_file():
        if stated:
            raise MarscfError(f"no {path}, which the run's receipt tells of; put it back, or {again}")
        return []
    if stated not in (None, sha256_file(path)):
        raise MarscfError(f"{path} is not the log that the run's receipt tells of; put it back, or {again}")
    try:
        return [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()]
    except ValueError as error:
        raise MarscfError(f"{path} is damaged ({error}); put it back, or {again}") from None


def read_log(run: str) -> "pandas.DataFrame | None":
    """A run's `log.jsonl`, one row per record; None where nothing was trained (counted, or imported weights).

    `minutes` are those of `metrics.csv`, spread evenly over the steps, because each step costs the same.
    """
    import pandas

    frame = pandas.DataFrame(read_records(run))
    if TRAIN not in frame or frame[TRAIN].isna().all():
        return None
    receipt = read_receipt(run)
    total, _ = training_minutes(receipt) or (float("nan"), "")
    return frame.reindex(columns=[*frame, *({VALIDATION} - {*frame})]).assign(
        minutes=frame["step"] / receipt["steps"] * total
    )


def _with_flops(run: str, log: "pandas.DataFrame") -> "pandas.DataFrame":
    """A log with its `flops`; NaN where the run's likelihood was not measured, or by an older version."""
    entry = sources.measurement(run, "likelihood.json", "gflops_per_image")
    return log.assign(flops=log["images"] * (1e9 * entry["value"] if entry else math.nan))


def _logs(runs: Sequence[str]) -> dict[str, "pandas.DataFrame"]:
    return {run: log for run in runs if (log := read_log(run)) is not None}


def curves(runs: Sequence[str]) -> "Figure":
    """Draw bits/dim over each of `X_AXES`, one row per dataset; a star marks the kept weights."""
    from matplotlib import pyplot
    from matplotlib.lines import Line2D
    from matplotlib.ticker import EngFormatter

    style.use()
    logs = {run: _with_flops(run, log) for run, log in _logs(runs).items()}
    if not logs:  # all systems are counted, not trained
        figure = pyplot.figure(figsize=(style.COLUMN, 1))
        figure.text(0.5, 0.5, "no system here is trained by steps", ha="center", va="center")
        return figure
    datasets = list(dict.fromkeys(Run.from_path(run).dataset for run in logs))
    systems = list(dict.fromkeys(Run.from_path(run).system for run in logs))
    looks = style.looks(systems)
    size = (style.PAGE, 2.4 * len(datasets) + 0.7)
    figure, grid = pyplot.subplots(len(datasets), len(X_AXES), figsize=size, squeeze=False, sharey="row")
    for row, dataset in zip(grid, datasets, strict=True):
        shown = {run: log for run, log in logs.items() if Run.from_path(run).dataset == dataset}
        for axes, (column, label) in zip(row, X_AXES.items(), strict=True):
            for run, log in shown.items():
                _curve(axes, log, column, looks[Run.from_path(run).system])
            axes.set(xlabel=label, xlim=(0, None))
            if column != "minutes":
                axes.xaxis.set_major_formatter(EngFormatter(sep=""))  # 10k
        row[0].set(ylabel="bits/dim", ylim=_range(shown.values()))
        row[0].set_title(style.text(sources.dataset_title(dataset)), loc="left")
    handles = [
        Line2D([], [], **looks[name], label=style.text(sources.system_title(name))) for name in systems
    ]
    handles.append(Line2D([], [], color="grey", lw=0.8, label="training batches (running median)"))
    handles.append(Line2D([], [], color="black", marker="*", ms=8, ls="", label="weights that were kept"))
    title = "lines with markers: validation images, averaged weights"
    figure.legend(handles=handles, loc="outside lower center", ncols=3, title=title, title_fontsize=7)
    return figure


def _curve(axes: "Axes", log: "pandas.DataFrame", x: str, look: dict[str, Any]) -> None:
    """One run's training curve, thin, and its validations, with the lowest one marked."""
    train = log.dropna(subset=[TRAIN])  # a validation is a record of its own
    window = max(1, round(SMOOTH * len(train)))
    smooth = train[TRAIN].rolling(window, center=True, min_periods=1).median()
    axes.plot(train[x], smooth, color=look["color"], lw=0.7, alpha=0.7)
    seen = log.dropna(subset=[VALIDATION])
    if seen.empty:
        return
    axes.plot(seen[x], seen[VALIDATION], ms=3, markevery=style.every(len(seen)), **look)
    best = seen.iloc[int(seen[VALIDATION].argmin())]
    axes.plot(best[x], best[VALIDATION], "*", ms=8, mec="white", mew=0.5, color="black", zorder=5)


def _range(logs: Iterable["pandas.DataFrame"]) -> tuple[float, float]:
    """The range of bits/dim that shows how the runs end, without the steep beginning."""
    import pandas

    settled = [log[log["step"] > WARM * log["step"].max()] for log in logs]
    values = [pandas.concat([log[TRAIN], log[VALIDATION]]).dropna() for log in settled]
    low, high = min(v.min() for v in values), max(v.quantile(0.9) for v in values)
    return low - 0.05 * (high - low), high


def equal_time(runs: Sequence[str]) -> Table:
    """Validation bits/dim of each system after equal times, up to that of the dataset's shortest run.

    Controls, which are for equal images, do not count for that. The table also has the cost of each: its
    parameters, and the images that it had seen by then.
    """
    caption = (
        "Lowest validation bits/dim until equal times of training, mean over a system's seeds; T is the time "
        "that the dataset's shortest run took, but for controls: those are for equal images"
    )
    columns = ["dataset", "system", "parameters", "T (minutes)", *QUARTERS.values(), "images seen at T"]
    table = Table(caption, [*columns, "its end", "minutes", "images seen"])
    logs = {run: log for run, log in _logs(runs).items() if log["minutes"].notna().any()}
    shortest: dict[str, float] = {}
    systems: dict[tuple[str, str], list[str]] = {}
    for run in logs:
        of = Run.from_path(run)
        systems.setdefault((of.dataset, of.system), []).append(run)
    for dataset in dict.fromkeys(dataset for dataset, _ in systems):
        names = [name for of, name in systems if of == dataset]
        names = [name for name in names if not sources.control_of(name)] or names
        of_these = [run for name in names for run in systems[dataset, name]]
        shortest[dataset] = min(logs[run]["minutes"].max() for run in of_these)
    for (dataset, system), own in systems.items():
        times = [share * shortest[dataset] for share in QUARTERS]
        cells = [Cell(sources.dataset_title(dataset), dataset), Cell(sources.system_title(system), system)]
        cells.append(_mean("parameters", [read_receipt(run)["parameters"] for run in own], own))
        cells.append(_mean("train_minutes", [shortest[dataset]], own[:1]))
        cells += [_mean("bits_per_dim", [_lowest(logs[run], time) for run in own], own) for time in times]
        cells.append(_mean("images_seen", [_seen(logs[run], shortest[dataset]) for run in own], own))
        cells.append(_mean("bits_per_dim", [float(logs[run][VALIDATION].min()) for run in own], own))
        cells.append(_mean("train_minutes", [logs[run]["minutes"].max() for run in own], own))
        cells.append(_mean("images_seen", [float(logs[run]["images"].max()) for run in own], own))
        table.rows.append(cells)
    return table


def _seen(log: "pandas.DataFrame", minutes: float) -> float:
    """Images that a training had seen by then, in proportion to its minutes; NaN where it ended before."""
    if not _reaches(log, minutes):
        return math.nan
    return float(min(1.0, minutes / log["minutes"].max()) * log["images"].max())


def _lowest(log: "pandas.DataFrame", minutes: float) -> float:
    """The lowest validation bits/dim until then; NaN before the first, and after the training's end."""
    if not _reaches(log, minutes):
        return math.nan
    return float(log.loc[log["minutes"] <= minutes * (1 + 1e-9), VALIDATION].min())


def _reaches(log: "pandas.DataFrame", minutes: float) -> bool:
    return log["minutes"].max() >= minutes * (1 - 1e-9)


def _mean(metric: str, values: list[float], runs: list[str]) -> Cell:
    """The mean over a system's seeds ± their standard deviation; a dash where a seed has no value."""
    mean = statistics.fmean(values)
    if not math.isfinite(mean):
        return Cell("–", "")
    spread = statistics.stdev(values) if len(values) > 1 else None
    of = [Run.from_path(run) for run in runs]
    note = f"{'mean ± standard deviation of ' * (len(of) > 1)}seed {', '.join(str(run.seed) for run in of)}"
    return Cell(pretty(metric, mean, spread), mean, anchor(vars(of[0])), note, "number")
