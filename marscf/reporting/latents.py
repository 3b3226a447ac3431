"""Correlation among the channels of a flow's latents, and what its prior leaves of it."""

from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np

from marscf.reporting import sources, style
from marscf.runs import Run

if TYPE_CHECKING:
    import torch
    from matplotlib.figure import Figure

    from marscf.priors.prior import Prior

IMAGES = 256  # of the validation split; the test images are read by `marscf evaluate` alone


def channel_correlation(z: np.ndarray) -> np.ndarray:
    """Correlation `(C,C)` of the channels of `z (B,C,H,W)`, over images and positions."""
    return np.corrcoef(z.transpose(1, 0, 2, 3).reshape(z.shape[1], -1))


def residuals(prior: "Prior", z: "torch.Tensor", context: "torch.Tensor | None") -> "torch.Tensor":
    """The standard-normal noise from which `prior` draws `z (B,C,H,W)`: `(z-μ)/σ`, independent if it fits.

    Found by the contract of a prior alone, channel after channel: with the noise of the channels before it,
    channel j is drawn as `μ_j + σ_j·noise_j`, so that two draws, with noise 0 and 1, give μ_j and σ_j.
    """
    import torch

    noise = torch.zeros_like(z)
    for j in range(z.shape[1]):
        unit = noise.clone()
        unit[:, j] = 1
        mean = prior.sample(context, noise)[:, j]
        scale = prior.sample(context, unit)[:, j] - mean
        noise[:, j] = (z[:, j] - mean) / scale
    return noise


def last_latent(run: str) -> tuple[np.ndarray, np.ndarray]:
    """The last level's latent of validation images and its residuals under the prior, each `(B,C,H,W)`."""
    import torch

    from marscf import load
    from marscf.data.arrays import open_split

    model = load(run)
    images = torch.from_numpy(np.array(open_split(Run.from_path(run).dataset, "val")[:IMAGES]))
    noise = model.draw_noise(len(images), torch.Generator().manual_seed(0))
    with torch.no_grad():
        z = model.encode(images, noise)[-1]  # the last level has no context
        return z.numpy(), residuals(model.priors[-1], z, None).numpy()


def correlations(runs: Sequence[str]) -> "Figure":
    """Draw |ρ| among the last latent's channels, above as encoded, below standardised by the run's prior."""
    from matplotlib import pyplot

    style.use()
    drawn = [[np.abs(channel_correlation(z)) for z in last_latent(run)] for run in runs]
    for correlation in (panel for pair in drawn for panel in pair):
        np.fill_diagonal(correlation, np.nan)  # 1, of each channel with itself
    look = {"vmin": 0, "vmax": np.nanmax(drawn), "cmap": "cividis", "interpolation": "nearest"}
    side = min(2.0, (style.PAGE - 0.7) / len(runs))
    size = (side * len(runs) + 0.7, 2 * side + 0.9)
    figure, grid = pyplot.subplots(2, len(runs), figsize=size, squeeze=False)
    for column, (run, pair) in enumerate(zip(runs, drawn, strict=True)):
        of = Run.from_path(run)
        for axes, correlation, name in zip(grid[:, column], pair, ("latent", "residual"), strict=True):
            image = axes.imshow(correlation, **look)
            axes.grid(False)
            axes.spines[:].set_visible(False)
            axes.set(xticks=[], yticks=[], facecolor="white")
            axes.set_title(f"{name}: mean |ρ| = {np.nanmean(correlation):.3f}")
        heading = f"{sources.system_title(of.system)}\n{sources.dataset_title(of.dataset)}\n"
        grid[0][column].set_title(heading + grid[0][column].get_title())
    figure.colorbar(image, ax=grid, shrink=0.6, label="|correlation| of two channels")
    return figure
