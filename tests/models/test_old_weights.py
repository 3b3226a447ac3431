"""Weights files made by older versions load, and mean what they meant.

The files, and what they gave in float64, were recorded before any layer was renamed. They stay as they are.
"""

import json
import math
from pathlib import Path

import pytest
import torch

from marscf import models
from marscf.models import dequantiser

FOLDER = Path(__file__).parent / "weights"
RECORDED = json.loads((FOLDER / "recorded.json").read_text())


def spread(*shape: int, step: float) -> torch.Tensor:
    """Numbers in [0,1) that no random number generator was asked for."""
    return (torch.arange(1, math.prod(shape) + 1, dtype=torch.float64) * step % 1).view(shape)


@pytest.mark.parametrize("name", RECORDED)
def test_likelihood_and_sample(name, monkeypatch):
    monkeypatch.setattr(dequantiser, "CONTEXT_CHANNELS", 4)  # so that its file is small
    model = models.load(FOLDER / f"{name}.safetensors").double()
    x = (17 * spread(3, *model.shape, step=0.6180339887498949)).to(torch.uint8)
    noise = spread(3, *model.shape, step=0.7548776662466927)
    if name == "flowpp":
        noise = 2 * noise - 1
    eps = [2 * spread(2, *shape, step=0.5698402909980532) - 1 for shape in model.latent_shapes]
    with torch.no_grad():
        log_prob, sample = model.log_prob(x, noise), model.decode_noise(eps)
    expected = {key: torch.tensor(value, dtype=torch.float64) for key, value in RECORDED[name].items()}
    torch.testing.assert_close(log_prob, expected["log_prob"], rtol=1e-9, atol=1e-9)
    # pixels were in [-1/2,1/2) when the samples were recorded
    torch.testing.assert_close(sample.flatten() - 0.5, expected["sample"], rtol=1e-7, atol=1e-7)
