"""A density integrates to 1: couplings on a line and in a plane, by quadrature."""

import math

import pytest
import torch
from cases import made, mixlogcdf

from marscf.priors.gaussian import gaussian_log_density


def standard_normal(z: torch.Tensor) -> torch.Tensor:
    return gaussian_log_density(z, torch.zeros_like(z), torch.zeros_like(z)).flatten(1).sum(1)


@pytest.mark.parametrize("seed", range(4))
def test_mixlogcdf_on_a_line(seed):
    torch.manual_seed(seed)
    coupling = mixlogcdf(2, components=5).double()
    params = torch.randn(1, 2 + 15, 1, 1, dtype=torch.float64)
    x = torch.linspace(-60, 60, 400_001, dtype=torch.float64)
    with torch.no_grad():
        y, log_slope = coupling.elementwise(x[:, None, None, None], params)
        density = torch.exp(standard_normal(y) + log_slope.flatten())
    assert torch.trapezoid(density, x).item() == pytest.approx(1, abs=1e-6)


@pytest.mark.parametrize(
    "name", ["AffineCoupling scale, then shift", "AffineCoupling shift, then scale", "MixLogCDFCoupling"]
)
@pytest.mark.parametrize("seed", range(2))
def test_coupling_in_a_plane(name, seed):
    coupling = made(name, 2, 1, 1, seed=seed)
    axis = torch.linspace(-25, 25, 801, dtype=torch.float64)
    grid = torch.cartesian_prod(axis, axis)[:, :, None, None]
    with torch.no_grad():
        mass = 0.0
        for part in grid.split(100_000):
            z, log_det = coupling(part)
            mass += torch.exp(standard_normal(z) + log_det).sum().item()
    assert mass * (50 / 800) ** 2 == pytest.approx(1, abs=1e-4)


def test_gaussian():
    x = torch.linspace(-30, 30, 100_001, dtype=torch.float64)
    log_density = gaussian_log_density(x, torch.tensor(1.0).double(), torch.tensor(math.log(2.0)).double())
    assert torch.trapezoid(log_density.exp(), x).item() == pytest.approx(1, abs=1e-9)
