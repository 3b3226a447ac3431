"""Interpolations between test images (Fig. 11) and their scores on the way (Fig. 12)."""

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from marscf import seals
from marscf.errors import MarscfError
from marscf.images import tiled
from marscf.reporting import sources, style
from marscf.reporting.metrics import qualifier
from marscf.reporting.samples import in_colour
from marscf.runs import Run

if TYPE_CHECKING:
    import pandas
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

END = "#0072B2"  # of the frame of real images
FILES = ("interpolation.npz", "interpolation.csv", "interpolation_scores.csv")
GAP = 1  # white pixels between images
METHODS = {
    "linear": ("straight line", "#666666", "s", "--"),
    "moved": ("moved off it (our reading)", "#D55E00", "o", "-"),
}
LINE = 0.0  # the λ of the straight line
WAY = {"split", "density", "lambda"}
POINTS = WAY | {"pair", "point", "t", "log_prob_latent", "log_prob_image", "line_distance", "image_distance"}
SCORES = WAY | {"t", "metric", "value", "stderr", "difference", "difference_stderr", "n", "protocol"}
DRAWN = {"images", "t", "density", "shown", "chosen"}


@dataclass(frozen=True)
class Drawn:
    """The pairs of test images that are drawn of a run, and the λ by which they were moved."""

    images: np.ndarray  # uint8 (pairs, 2 methods, points, C,H,W), grey levels stretched to 0 … 255
    t: np.ndarray  # (points,)
    density: str
    shown: float  # λ
    chosen: float  # λ; 0 where the straight line scored highest on the validation pairs


def read_paths(run: str) -> Drawn:
    """Read the images of Fig. 11."""
    path = _needed(run, "interpolation.npz")
    with np.load(path, allow_pickle=False) as saved:
        _check(path, run, saved.files, DRAWN)
        numbers = (float(saved["shown"]), float(saved["chosen"]))
        return Drawn(sources.visible(saved["images"], run), saved["t"], str(saved["density"]), *numbers)


def read_points(run: str) -> "pandas.DataFrame":
    """Read the numbers of all points, see `POINTS`: log-densities in nats, distances as mean squares."""
    return _read(run, "interpolation.csv", POINTS)


def read_scores(run: str) -> "pandas.DataFrame":
    """Read the scores; see `SCORES`. `t` is NaN for the mean over the interior, differences for the line."""
    return _read(run, "interpolation_scores.csv", SCORES)


def _read(run: str, name: str, columns: set[str]) -> "pandas.DataFrame":
    import pandas

    path = _needed(run, name)
    table = pandas.read_csv(path)
    _check(path, run, map(str, table.columns), columns)
    return table


def _needed(run: str, name: str) -> Path:
    folder = Path(run)
    return seals.unsealed(folder / name, f"marscf study interpolate {run}", seals.INTERPOLATION, folder)


def _check(path: Path, run: str, found: Iterable[str], needed: set[str]) -> None:
    if missing := sorted(needed - set(found)):
        raise MarscfError(
            f"{path} is of an older version (it has no {missing[0]}); make it again with: "
            f"marscf study interpolate {run}"
        )


def _title(run: str, drawn: Drawn) -> str:
    of = Run.from_path(run)
    names = f"{sources.system_title(of.system)}, {sources.dataset_title(of.dataset)}"
    text = f"{style.text(names)}, λ = {drawn.shown:g}"
    return text if drawn.chosen != LINE else f"{text}\n(on validation pairs no λ beat the straight line)"


def paths(runs: Sequence[str], pairs: int = 6) -> "Figure":
    """Draw Fig. 11: each pair of test images as two rows, the straight line above, the moved points below.

    The ends are real images. They are framed, and apart from the points between them.
    """
    from matplotlib import pyplot

    style.use()
    read = [read_paths(run) for run in runs]
    most = max(min(pairs, len(drawn.images)) for drawn in read)
    points = max(len(drawn.t) for drawn in read)
    each = 2 if len(runs) == 1 else 1  # columns of pairs for each run
    rows, columns = -(-most // each), each * len(runs)
    cell = style.PAGE / columns / (points + 2)
    figure = pyplot.figure(figsize=(style.PAGE, cell * 2.5 * rows + 0.4))
    grid = figure.add_gridspec(rows, columns)
    for column, (run, drawn) in enumerate(zip(runs, read, strict=True)):
        for pair, both in enumerate(drawn.images[:pairs]):
            axes = figure.add_subplot(grid[pair // each, column * each + pair % each])
            _pair(axes, both, drawn.t, labelled=pair >= min(pairs, len(drawn.images)) - each)
            if pair == 0:
                axes.set_title(_title(run, drawn), loc="left")
    return figure


def _pair(axes: "Axes", images: np.ndarray, t: np.ndarray, labelled: bool) -> None:
    """Show one pair's images `(2 methods, points, C,H,W)`; with `labelled`, name the columns below."""
    from matplotlib.patches import Rectangle

    inner, (height, width) = len(t) - 2, images.shape[-2:]
    shape = images.shape[2:]
    parts = [in_colour(tiled(images[:, at].reshape(-1, *shape), n, GAP)) for at, n in _parts(inner)]
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
    """The first end, the points between, the last end: places along t, and how many."""
    yield from ((slice(0, 1), 1), (slice(1, -1), inner), (slice(-1, None), 1))


def scores(runs: Sequence[str]) -> "Figure":
    """Draw Fig. 12: the Inception score of the images at each t, both methods, ± standard error."""
    from matplotlib import pyplot

    style.use()
    width = style.COLUMN if len(runs) == 1 else style.PAGE
    figure, panels = pyplot.subplots(1, len(runs), figsize=(width, 2.4), squeeze=False)
    for axes, run in zip(panels[0], runs, strict=True):
        table = read_scores(run)
        table = table[table["split"].eq("test") & table["t"].notna()]
        moved = table["lambda"] != LINE
        for aside, rows, look in zip(
            (-0.006, 0.006), (table[~moved], table[moved]), METHODS.values(), strict=True
        ):
            label, colour, marker, dash = look
            line = {"color": colour, "marker": marker, "ls": dash, "capsize": 2, "elinewidth": 0.8}
            axes.errorbar(rows["t"] + aside, rows["value"], yerr=rows["stderr"], label=label, **line)
        if table.empty:
            axes.text(0.5, 0.5, "no scores: this scale has\nno feature extractor", ha="center", va="center")
        else:
            first = table.iloc[0]
            extractor = qualifier(first["metric"]) or "Inception"
            axes.set_ylabel(f"Inception score by {extractor}")
            axes.set_xlabel(f"t, from one image to the other ({first['n']} pairs)")
        axes.set_title(_title(run, read_paths(run)))
    handles, labels = panels[0][0].get_legend_handles_labels()
    figure.legend(handles, labels, loc="outside lower center", ncols=2)
    return figure
