"""The correlation that a prior leaves: residuals are the prior's own noise, and a run is measured."""

import json

import numpy as np
import pytest
import torch

from marscf.errors import ConfigError
from marscf.priors.gaussian import GaussianPrior
from marscf.priors.mar import MARPrior
from marscf.studies import latents


class Chained:
    """A prior whose channels depend on each other: z_j = j + z_{j-1}/2 + (j+1)·noise_j."""

    def sample(self, context, noise):
        channels = []
        for j in range(noise.shape[1]):
            before = channels[-1] if channels else 0.0
            channels.append(j + before / 2 + (j + 1) * noise[:, j])
        return torch.stack(channels, 1)


def test_residuals_are_the_noise_that_a_latent_was_drawn_from():
    noise = torch.randn(4, 5, 3, 3, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    z = Chained().sample(None, noise)
    torch.testing.assert_close(latents.residuals(Chained(), z, None), noise)
    correlated, left = (
        np.abs(np.triu(latents.channel_correlation(values), 1)).sum() for values in (z, noise)
    )
    assert correlated > 2 * left


def test_residuals_of_the_priors_have_their_density():
    """log p(z) = log N(residual) - log|dz/dresidual|: the residuals are those of `log_prob`."""
    torch.manual_seed(0)
    z = torch.randn(2, 3, 4, 4, dtype=torch.float64)
    gaussian, mar = GaussianPrior(3), MARPrior(None, lstm_channels=4, lstm_layers=1, level=3, sides=(2, 2))
    torch.nn.init.normal_(gaussian.constants, std=0.3)
    for prior in (gaussian.double(), mar.double()):
        with torch.no_grad():
            noise = latents.residuals(prior, z, None)
            torch.testing.assert_close(prior.sample(None, noise), z)


def test_a_run_is_measured(digits, make_run):
    """One Gaussian a channel only standardises: it leaves the correlation as it is."""
    from marscf.models import WEIGHTS, build, save
    from marscf.runs import CONFIG
    from marscf.settings import RunConfig

    folder = make_run("two-modes")
    with pytest.raises(ConfigError, match="no prior"):
        latents.measure_latents(folder, "cpu")
    options = {"prior": "gaussian", "levels": 2, "steps": 1, "channels": 4}
    config = {
        **{"scale": "tiny", "dataset": "digits", "system": "glow", "seed": 0, "seed_value": 0},
        **{"model": "multiscale_flow.MultiScaleFlow", "options": options, "training": {}},
        "data": {"shape": [1, 8, 8], "grey_levels": 17, "dims": 64, "augment": "none"},
    }
    folder = folder.parents[1] / "glow" / "seed0"
    folder.mkdir(parents=True)
    (folder / CONFIG).write_text(json.dumps(config))
    model = build(RunConfig.from_json(config))
    model.initialise(torch.zeros(2, 1, 8, 8, dtype=torch.uint8))
    save(model, RunConfig.from_json(config), folder / WEIGHTS)
    with np.load(latents.measure_latents(folder, "cpu")) as saved:
        assert saved["latent"].shape == saved["residual"].shape == (8, 8)
        np.testing.assert_allclose(saved["latent"], saved["residual"], atol=1e-4)
        assert saved["images"] == 20  # all validation images, of fewer than it takes
    for report, name in ((False, "trial-latent_correlation.npz"), (True, "latent_correlation.npz")):
        written = latents.measure_latents(folder, "cpu", 8, report)
        with np.load(written) as saved:
            assert saved["images"] == 8 and written.name == name
