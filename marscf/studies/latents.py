"""Correlation among the channels of a flow's last latent, and what its prior leaves of it."""

from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import torch
from torch import Tensor

from marscf.data.arrays import open_split
from marscf.devices import choose_device
from marscf.errors import ConfigError
from marscf.evaluation.measurements import trial
from marscf.files import replacing
from marscf.models import load
from marscf.models.base import FlowModel
from marscf.runs import run_config

if TYPE_CHECKING:
    from marscf.priors.prior import Prior

IMAGES = 256  # of the validation split; the test images are read by `marscf evaluate` alone
FILE = "latent_correlation.npz"


def measure_latents(
    folder: str | Path, device: str = "auto", images: int | None = None, report: bool = False
) -> Path:
    """Write RUN/latent_correlation.npz: the correlations `latent` and `residual`, each `(C,C)`.

    `latent` is of the last level's latent of validation images, `residual` of the same standardised by the
    run's own prior. `images` is how many at most; it makes a trial of it, in a file beside, unless it is for
    the `report`. Raises `ConfigError` for a model without priors.
    """
    folder = Path(folder)
    model = load(folder, choose_device(device))
    if not isinstance(model, FlowModel) or model.last_prior is None:
        raise ConfigError(f"{folder}: {type(model).__name__} has no prior over the channels of its latents")
    count = min(IMAGES, images or IMAGES)
    x = torch.from_numpy(np.array(open_split(run_config(folder).dataset, "val")[:count]))
    noise = model.draw_noise(len(x), torch.Generator().manual_seed(0))
    with torch.no_grad():
        z = model.encode(x.to(model.device), noise)[-1]
        residual = residuals(model.last_prior, z, None)  # the last level has no context
    path = folder / FILE if report or count == IMAGES else trial(folder / FILE)
    with replacing(path) as temporary:
        np.savez(
            temporary,
            images=np.array(len(x)),
            latent=channel_correlation(z),
            residual=channel_correlation(residual),
        )
    return path


def channel_correlation(z: Tensor) -> np.ndarray:
    """Correlation `(C,C)` of the channels of `z (B,C,H,W)`, over images and positions."""
    return np.corrcoef(z.cpu().double().transpose(0, 1).flatten(1).numpy())


def residuals(prior: "Prior", z: Tensor, context: Tensor | None) -> Tensor:
    """The standard-normal noise from which `prior` draws `z (B,C,H,W)`: `(z-μ)/σ`, independent if it fits.

    Found by the contract of a prior alone, channel after channel: with the noise of the channels before it,
    channel j is drawn as `μ_j + σ_j·noise_j`, so that two draws, with noise 0 and 1, give μ_j and σ_j.
    """
    noise = torch.zeros_like(z)
    for j in range(z.shape[1]):
        unit = noise.clone()
        unit[:, j] = 1
        mean = prior.sample(context, noise)[:, j]
        scale = prior.sample(context, unit)[:, j] - mean
        noise[:, j] = (z[:, j] - mean) / scale
    return noise
