"""Interpolations between test images (Fig. 11), their scores on the way (Fig. 12), and both by λ."""

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from marscf.errors import MarscfError
from marscf.reporting import sources, style
from marscf.reporting.metrics import qualifier
from marscf.reporting.samples import GAP, tiled
from marscf.reporting.tables import Cell, Table, anchor
from marscf.runs import Run

if TYPE_CHECKING:
    import pandas
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

END = "#0072B2"  # of the frame of real images
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


DENSITIES = {"log p(z)": "log_prob_latent", "log p(x)": "log_prob_image"}  # what is optimised comes first


def sensitivity_table(runs: Sequence[str]) -> Table:
    """How the paths depend on λ1: gains in log-density over the straight line, distances to the ends."""
    caption = (
        "Interpolation by λ1 (λ2 is the middle λ1): gain over the straight line in log p(z) of the latents, "
        "which is optimised, and in log p(x) of the image, which is not; in nats, mean ± standard error over "
        "the pairs, the least, and at how many interior points it is a gain"
    )
    columns = [f"{words}{name}" for name in DENSITIES for words in ("gain in ", "least gain in ", "higher ")]
    columns.append("squared distance to the nearer end")
    table = Table(caption, ["dataset", "system", "path", *columns])
    for run in runs:
        of = Run.from_path(run)
        names = [
            Cell(sources.dataset_title(of.dataset), of.dataset),
            Cell(sources.system_title(of.system), of.system, anchor(vars(of))),
        ]
        table.rows += [[*names, *cells] for cells in _by_lambda(run)]
    return table


def gains(run: str) -> "pandas.DataFrame":
    """The interior points of a run's drawn pairs by pair and point, with their gains in `DENSITIES`.

    A gain is over the straight line's point of the same pair and t, in nats; 0 on the line itself.
    """
    import pandas

    rows = pandas.read_csv(_needed(run, "interpolation.csv"))
    rows = rows[~rows["point"].isin([rows["point"].min(), rows["point"].max()])].set_index(["pair", "point"])
    line = rows[rows["method"] == "linear"]
    for name, column in DENSITIES.items():
        rows[name] = rows[column] - line[column].reindex(rows.index)
    return rows


def _by_lambda(run: str) -> Iterator[list[Cell]]:
    """The straight line's row, then one for each λ1."""
    for (method, value), path in gains(run).groupby(["method", "lambda"]):
        ours = method != "linear"
        cells = [Cell(f"λ1 = {value:g}", value) if ours else Cell("straight line")]
        for name in DENSITIES:
            gain = path[name]
            cells += [_mean(gain), _value(gain.min()), _higher(gain)] if ours else [Cell("–", "")] * 3
        yield [*cells, _mean(path["distance"])]


def _mean(values: "pandas.Series") -> Cell:
    """The mean over pairs of their means over points, ± its standard error."""
    pairs = values.groupby("pair").mean()
    error = f" ± {pairs.sem():.2g}" if len(pairs) > 1 else ""
    return Cell(f"{pairs.mean():,.1f}{error}", float(pairs.mean()), note=f"{len(pairs)} pairs", kind="number")


def _higher(gain: "pandas.Series") -> Cell:
    """At how many of the points it is a gain."""
    count = int((gain > 0).sum())
    return Cell(f"at {count} of {len(gain)}", count, kind="number")


def _value(value: float) -> Cell:
    return Cell(f"{value:,.3g}", float(value), kind="number")


def paths(runs: Sequence[str], pairs: int = 6) -> "Figure":
    """Draw Fig. 11: each pair of test images as two rows, linear above and ours below, from end to end.

    The ends, real images, stand apart from the points between them, in a frame.
    """
    from matplotlib import pyplot

    style.use()
    read = [read_paths(run) for run in runs]
    most, points = max(min(pairs, len(images)) for images, _ in read), max(len(t) for _, t in read)
    each = 2 if len(runs) == 1 else 1  # columns of pairs that a run gets
    rows, columns = -(-most // each), each * len(runs)
    cell = style.PAGE / columns / (points + 2)
    figure = pyplot.figure(figsize=(style.PAGE, cell * 2.5 * rows + 0.4))
    grid = figure.add_gridspec(rows, columns)
    for column, (run, (images, t)) in enumerate(zip(runs, read, strict=True)):
        of = Run.from_path(run)
        for pair, both in enumerate(images[:pairs]):
            axes = figure.add_subplot(grid[pair // each, column * each + pair % each])
            _pair(axes, both, t, labelled=pair >= min(pairs, len(images)) - each)
            if pair == 0:
                name = f"{sources.system_title(of.system)}, {sources.dataset_title(of.dataset)}"
                axes.set_title(name, loc="left")
    return figure


def _pair(axes: "Axes", images: np.ndarray, t: np.ndarray, labelled: bool) -> None:
    """Show one pair's images `(2 methods, points, C,H,W)`; with `labelled`, what the columns are, below."""
    from matplotlib.patches import Rectangle

    inner, (height, width) = len(t) - 2, images.shape[-2:]
    parts = [tiled(images[:, at].reshape(-1, *images.shape[2:]), n) for at, n in _parts(inner)]
    apart = np.full((len(parts[0]), max(2, width // 3), 3), 255, np.uint8)
    sheet = np.concatenate([parts[0], apart, parts[1], apart, parts[2]], axis=1)
    axes.imshow(sheet, interpolation="nearest")
    left = np.concatenate([[0], width + apart.shape[1] + np.arange(inner) * (width + GAP)])
    left = np.append(left, sheet.shape[1] - width)
    for place in (left[0], left[-1]):
        corner, size = (place - 0.5, -0.5), (width, sheet.shape[0])
        axes.add_patch(Rectangle(corner, *size, fill=False, ec=END, lw=1.6, clip_on=False))
    axes.set(yticks=[height / 2, 1.5 * height + GAP], yticklabels=METHODS, xticks=[])
    if labelled:
        names = [f"{at:g}" if at in (0.25, 0.5, 0.75) else "" for at in t]
        axes.set_xticks(left + width / 2, ["real", *names[1:-1], "real"])
        axes.get_xticklabels()[0].set_color(END)
        axes.get_xticklabels()[-1].set_color(END)
        axes.set_xlabel("t", labelpad=0)
    axes.tick_params(length=0, pad=3)
    axes.spines[:].set_visible(False)
    axes.grid(False)


def _parts(inner: int) -> Iterator[tuple[slice, int]]:
    """The two ends and what lies between them: places along t, and how many."""
    yield from ((slice(0, 1), 1), (slice(1, -1), inner), (slice(-1, None), 1))


def scores(runs: Sequence[str]) -> "Figure":
    """Draw Fig. 12: the Inception score of the images at each t, both methods, ± standard error."""
    from matplotlib import pyplot

    style.use()
    width = style.COLUMN if len(runs) == 1 else style.PAGE
    figure, panels = pyplot.subplots(1, len(runs), figsize=(width, 2.4), squeeze=False)
    for axes, run in zip(panels[0], runs, strict=True):
        of, table = Run.from_path(run), read_scores(run)
        for aside, (method, (label, colour, marker, dash)) in zip(
            (-0.006, 0.006), METHODS.items(), strict=True
        ):
            rows = table[table["method"] == method].sort_values("t")
            look = {"color": colour, "marker": marker, "ls": dash, "capsize": 2, "elinewidth": 0.8}
            axes.errorbar(rows["t"] + aside, rows["value"], yerr=rows["stderr"], label=label, **look)
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
