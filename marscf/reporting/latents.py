"""Correlation among the channels of a flow's latents, and how much of it is left under its prior."""

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from marscf import seals
from marscf.reporting import sources, style
from marscf.runs import Run

if TYPE_CHECKING:
    from matplotlib.figure import Figure

KINDS = ("latent", "residual")


def read_correlations(run: str) -> tuple[int, list[np.ndarray]]:
    """The number of images, and a run's |ρ| among the last latent's channels, each `(C,C)`.

    As encoded, and standardised by its prior. The diagonal, each channel with itself, is NaN.
    """
    folder = Path(run)
    path = folder / "latent_correlation.npz"
    seals.unsealed(path, f"marscf study latents {run}", seals.LATENTS, folder)
    with np.load(path, allow_pickle=False) as saved:
        images, found = int(saved["images"]), [np.abs(saved[kind]) for kind in KINDS]
    for correlation in found:
        np.fill_diagonal(correlation, np.nan)
    return images, found


def correlations(runs: Sequence[str]) -> "Figure":
    """Draw |ρ| among the last latent's channels, above as encoded, below standardised by the run's prior."""
    from matplotlib import pyplot

    style.use()
    drawn = [read_correlations(run) for run in runs]
    highest = max(np.nanmax(panel) for _, pair in drawn for panel in pair)
    look = {"vmin": 0, "vmax": highest, "cmap": "cividis", "interpolation": "nearest"}
    side = min(2.0, (style.PAGE - 0.7) / len(runs))
    size = (side * len(runs) + 0.7, 2 * side + 0.9)
    figure, grid = pyplot.subplots(2, len(runs), figsize=size, squeeze=False)
    for column, (run, (images, pair)) in enumerate(zip(runs, drawn, strict=True)):
        of = Run.from_path(run)
        for axes, correlation, name in zip(grid[:, column], pair, KINDS, strict=True):
            image = axes.imshow(correlation, **look)
            axes.grid(False)
            axes.spines[:].set_visible(False)
            axes.set(xticks=[], yticks=[], facecolor="white")
            axes.set_title(f"{name}: mean |ρ| = {np.nanmean(correlation):.3f}")
        titles = (sources.system_title(of.system), sources.dataset_title(of.dataset))
        heading = "\n".join(map(style.text, titles)) + f", {images} images\n"
        grid[0][column].set_title(heading + grid[0][column].get_title())
    figure.colorbar(image, ax=grid, shrink=0.6, label="|correlation| of two channels")
    return figure
