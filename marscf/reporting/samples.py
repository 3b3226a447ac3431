"""Samples of several systems beside real images (Figs. 8 to 10)."""

from collections.abc import Sequence
from contextlib import suppress
from typing import TYPE_CHECKING

import numpy as np

from marscf.errors import DataError
from marscf.reporting import sources, style
from marscf.runs import Run

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

GAP = 1  # white pixels between images


def tiled(images: np.ndarray, columns: int) -> np.ndarray:
    """Lay `uint8 (n,C,H,W)` out row by row as `(height,width,3)`; the last row is filled with white."""
    count, _, height, width = images.shape
    rows = -(-count // columns)
    sheet = np.full((rows * (height + GAP) - GAP, columns * (width + GAP) - GAP, 3), 255, np.uint8)
    for index, image in enumerate(images):
        top, left = index // columns * (height + GAP), index % columns * (width + GAP)
        sheet[top : top + height, left : left + width] = image.transpose(1, 2, 0)
    return sheet


def show(axes: "Axes", images: np.ndarray, columns: int) -> None:
    """Show images as one sheet, pixels as squares, without axes."""
    axes.imshow(tiled(images, columns), interpolation="nearest")
    axes.set_axis_off()


def sample_grids(runs: Sequence[str], limit: int = 64) -> "Figure":
    """Draw a square of real images, then one of samples of each run, with bits/dim ± standard error and seed.

    None is chosen: they are the first draws of the seed, and the first images of the validation split. Real
    images are left out where the dataset is not prepared, as in a clone that pulled its trained models.
    """
    from matplotlib import pyplot

    style.use()
    drawn, titles = [sources.samples(run)[:limit] for run in runs], [*map(_title, runs)]
    with suppress(DataError):
        drawn.insert(0, sources.real(runs[0], limit))
        titles.insert(0, f"Real images\n{sources.dataset_title(Run.from_path(runs[0]).dataset)}\n")
    side = min(int(np.sqrt(len(images))) for images in drawn)
    size = (style.PAGE, (style.PAGE - 0.1) / len(drawn) + 0.55)
    figure, row = pyplot.subplots(1, len(drawn), figsize=size, squeeze=False, layout="compressed")
    figure.get_layout_engine().set(wspace=0.04)
    for axes, images, title in zip(row[0], drawn, titles, strict=True):
        show(axes, images[: side * side], side)
        axes.set_title(title, loc="left")
    return figure


def _title(run: str) -> str:
    """System, bits/dim of the test images where they were measured, seed; a line each."""
    of, bits = Run.from_path(run), sources.measured(run, "likelihood.json", "bits_per_dim")
    lines = [sources.system_title(of.system), *([f"{bits} bits/dim"] if bits else []), f"seed {of.seed}"]
    return "\n".join(lines)
