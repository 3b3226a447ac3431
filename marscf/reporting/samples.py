"""Samples of several systems side by side (Figs. 8 to 10)."""

from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np

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
    """Draw a square of samples of each run side by side, each with its title and bits/dim ± standard error.

    None is chosen: they are the first draws of the seed.
    """
    from matplotlib import pyplot

    style.use()
    drawn = [sources.samples(run)[:limit] for run in runs]
    side = min(int(np.sqrt(len(images))) for images in drawn)
    width = style.COLUMN if len(runs) == 1 else style.PAGE
    figure, row = pyplot.subplots(
        1, len(runs), figsize=(width, (width - 0.1) / len(runs) + 0.45), squeeze=False
    )
    figure.get_layout_engine().set(wspace=0.05)
    for axes, run, images in zip(row[0], runs, drawn, strict=True):
        of = Run.from_path(run)
        show(axes, images[: side * side], side)
        bits = sources.measured(run, "likelihood.json", "bits_per_dim")
        axes.set_title(
            f"{sources.system_title(of.system)}, {sources.dataset_title(of.dataset)}"
            + (f"\n{bits} bits/dim" if bits else "")
        )
    return figure
