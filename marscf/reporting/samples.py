"""Samples of several systems, next to real images (Figs. 8 to 10)."""

from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np

from marscf.data.arrays import MANIFEST
from marscf.images import tiled
from marscf.reporting import sources, style
from marscf.runs import DATASETS, Run

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure


def show(axes: "Axes", images: np.ndarray, columns: int) -> None:
    """Show images as one sheet, pixels as squares, without axes."""
    axes.imshow(in_colour(tiled(images, columns)), interpolation="nearest")
    axes.set_axis_off()


def in_colour(sheet: np.ndarray) -> np.ndarray:
    """A sheet `(height, width, 1 or 3)` with three channels."""
    return np.broadcast_to(sheet, (*sheet.shape[:2], 3))


def sample_grids(runs: Sequence[str], limit: int = 64) -> "Figure":
    """Draw a square of real images, then one of each run's samples, titled with bits/dim and seed or file.

    None is chosen: they are the first draws of the seed, and the first images of the validation split. Real
    images are left out where the dataset is not prepared, as in a clone that pulled only the trained models.
    """
    from matplotlib import pyplot
    from matplotlib.layout_engine import ConstrainedLayoutEngine

    style.use()
    drawn, titles = [sources.samples(run)[:limit] for run in runs], [*map(_title, runs)]
    if (DATASETS / Run.from_path(runs[0]).dataset / MANIFEST).is_file():
        drawn.insert(0, sources.real(runs[0], limit))
        name = style.text(sources.dataset_title(Run.from_path(runs[0]).dataset))
        titles.insert(0, f"Real images\n{name}\n")
    side = min(int(np.sqrt(len(images))) for images in drawn)
    size = (style.PAGE, (style.PAGE - 0.1) / len(drawn) + 0.55)
    layout = ConstrainedLayoutEngine(compress=True, wspace=0.04)
    figure, row = pyplot.subplots(1, len(drawn), figsize=size, squeeze=False, layout=layout)
    for axes, images, title in zip(row[0], drawn, titles, strict=True):
        show(axes, images[: side * side], side)
        axes.set_title(title, loc="left")
    return figure


def _title(run: str) -> str:
    """System, bits/dim of the test images where they were measured, and seed, on lines of their own."""
    of, bits = Run.from_path(run), sources.measured(run, "likelihood.json", "bits_per_dim")
    lines = [
        style.text(sources.system_title(of.system)),
        *([f"{bits} bits/dim"] if bits else []),
        sources.training_of(of),
    ]
    return "\n".join(lines)
