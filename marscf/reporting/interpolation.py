"""Interpolations between test images (Fig. 11), their scores on the way (Fig. 12), and both by λ."""

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from marscf.errors import MarscfError
from marscf.reporting import sources, style
from marscf.reporting.metrics import qualifier
from marscf.reporting.samples import show
from marscf.reporting.tables import Cell, Table
from marscf.runs import Run

if TYPE_CHECKING:
    import pandas
    from matplotlib.figure import Figure

METHODS = {
    "linear": ("linear", "#666666", "s", "--"),
    "ours": ("ours (the paper's path)", "#D55E00", "o", "-"),
}


def _needed(run: str, name: str) -> Path:
    path = Path(run) / name
    if not path.is_file():
        raise MarscfError(f"no {path}; make it with: marscf study interpolate {run}")
    return path


def read_paths(run: str) -> tuple[np.ndarray, np.ndarray]:
    """A run's paths, `uint8 (pairs, 2 methods, points, C,H,W)` stretched to 0 … 255, and `t (points,)`."""
    with np.load(_needed(run, "interpolation.npz"), allow_pickle=False) as saved:
        return sources.stretched(saved["images"], run), saved["t"]


def read_scores(run: str) -> "pandas.DataFrame":
    """A run's scores along the paths: columns method, t, metric, value, stderr, n, protocol."""
    import pandas

    return pandas.read_csv(_needed(run, "interpolation_scores.csv"))


def sensitivity_table(runs: Sequence[str]) -> Table:
    """How the paths depend on λ1: gains in log-density over the straight line, distances to the ends."""
    caption = (
        "Interpolation by λ1 (λ2 is the middle λ1): gain in log-density over the straight line, in nats, "
        "mean ± standard error over the pairs, and the least at any interior point"
    )
    columns = ["gain in log p(z)", "least", "gain in log p(x)", "least", "squared distance to the nearer end"]
    table = Table(caption, ["dataset", "system", "path", *columns])
    for run in runs:
        of = Run.from_path(run)
        names = [
            Cell(sources.dataset_title(of.dataset), of.dataset),
            Cell(sources.system_title(of.system), of.system),
        ]
        table.rows += [[*names, *cells] for cells in _by_lambda(run)]
    return table


def _by_lambda(run: str) -> Iterator[list[Cell]]:
    """The straight line's row, then one for each λ1, over the interior points of the drawn pairs."""
    import pandas

    rows = pandas.read_csv(_needed(run, "interpolation.csv"))
    rows = rows[~rows["point"].isin([rows["point"].min(), rows["point"].max()])].set_index(["pair", "point"])
    line = rows[rows["method"] == "linear"]
    for (method, value), path in rows.groupby(["method", "lambda"]):
        ours = method != "linear"
        cells = [Cell(f"λ1 = {value:g}", value) if ours else Cell("straight line")]
        for column in ("log_prob_latent", "log_prob_image"):
            gain = path[column] - line[column]
            cells += [_mean(gain), _value(gain.min())] if ours else [Cell("–", ""), Cell("–", "")]
        yield [*cells, _mean(path["distance"])]


def _mean(values: "pandas.Series") -> Cell:
    """The mean over pairs of their means over points, ± its standard error."""
    pairs = values.groupby("pair").mean()
    error = f" ± {pairs.sem():.2g}" if len(pairs) > 1 else ""
    return Cell(f"{pairs.mean():,.1f}{error}", float(pairs.mean()), note=f"{len(pairs)} pairs", kind="number")


def _value(value: float) -> Cell:
    return Cell(f"{value:,.3g}", float(value), kind="number")


def paths(runs: Sequence[str], pairs: int = 6) -> "Figure":
    """Draw Fig. 11: each pair of test images as two rows, linear above and ours below, from end to end."""
    from matplotlib import pyplot

    style.use()
    read = [read_paths(run) for run in runs]
    most, points = max(min(pairs, len(images)) for images, _ in read), max(len(t) for _, t in read)
    each = 2 if len(runs) == 1 else 1  # columns of pairs that a run gets
    rows, columns = -(-most // each), each * len(runs)
    cell = style.PAGE / columns / (points + 1.5)
    figure = pyplot.figure(figsize=(style.PAGE, cell * (2.3 * rows) + 0.35))
    grid = figure.add_gridspec(rows, columns)
    for column, (run, (images, _)) in enumerate(zip(runs, read, strict=True)):
        of = Run.from_path(run)
        for pair, (linear, ours) in enumerate(images[:pairs]):
            axes = figure.add_subplot(grid[pair // each, column * each + pair % each])
            show(axes, np.concatenate([linear, ours]), len(linear))
            side = images.shape[-2]  # the sheet's rows are `side` pixels high, with one between them
            axes.set_axis_on()
            axes.set(xticks=[], yticks=[side / 2, 1.5 * side + 1], yticklabels=METHODS)
            axes.tick_params(length=0, pad=2)
            axes.spines[:].set_visible(False)
            axes.grid(False)
            if pair == 0:
                name = f"{sources.system_title(of.system)}, {sources.dataset_title(of.dataset)}"
                axes.set_title(name, loc="left")
    return figure


def scores(runs: Sequence[str]) -> "Figure":
    """Draw Fig. 12: the Inception score of the images at each t, both methods, ± standard error."""
    from matplotlib import pyplot

    style.use()
    width = style.COLUMN if len(runs) == 1 else style.PAGE
    figure, panels = pyplot.subplots(1, len(runs), figsize=(width, 2.4), squeeze=False)
    for axes, run in zip(panels[0], runs, strict=True):
        of, table = Run.from_path(run), read_scores(run)
        for method, (label, colour, marker, dash) in METHODS.items():
            rows = table[table["method"] == method].sort_values("t")
            look = {"color": colour, "marker": marker, "ls": dash, "capsize": 2, "elinewidth": 0.8}
            axes.errorbar(rows["t"], rows["value"], yerr=rows["stderr"], label=label, **look)
        if table.empty:
            axes.text(0.5, 0.5, "no scores: this scale has\nno feature extractor", ha="center", va="center")
        else:
            first = table.iloc[0]
            extractor = qualifier(first["metric"]) or "Inception"
            axes.set_ylabel(f"Inception score by {extractor}")
            axes.set_xlabel(f"t, from one image to the other ({first['n']} images at each)")
        axes.set_title(f"{sources.system_title(of.system)}, {sources.dataset_title(of.dataset)}")
    handles, labels = panels[0][0].get_legend_handles_labels()
    figure.legend(handles, labels, loc="outside lower center", ncols=2)
    return figure
