"""The GPU's kernel for the inverse CDF, in Triton's interpreter; test_graphs.py runs it on a GPU."""

import os
import subprocess
import sys

import pytest

pytest.importorskip("triton", reason="needs Triton, which comes with torch for Linux")

PROGRAM = """
import torch
from marscf.flows import mixture
from marscf.kernels.mixture_triton import newton

torch.manual_seed(0)
for dtype, bound in ((torch.float32, 1e-4), (torch.float64, 1e-12)):
    for components, spread in ((32, 1.0), (5, 3.0)):
        shape = (3, components, 2, 4, 4)
        logits, means = torch.randn(shape, dtype=dtype), 2 * torch.randn(shape, dtype=dtype)
        log_scales = (spread * torch.randn(shape, dtype=dtype) - 1).clamp(min=-7)
        x = 3 * torch.randn(3, 2, 4, 4, dtype=dtype)
        y = mixture.log_odds(x, logits, means, log_scales)[0]
        found = newton(y, logits.softmax(1), means, log_scales, 100)
        assert (found - mixture.inverse_log_odds(y, logits, means, log_scales)).abs().max() < bound
        assert (found - x).abs().max() < bound

# Between spikes the slope all but vanishes.
means = torch.tensor([3.6413, 3.6806, -1.7355, 0.7334, -1.9912, -1.2246, 1.6527, -1.3094]).double()
weights = torch.tensor([0.0025, 0.4973, 0.0050, 0.0243, 0.0570, 0.0208, 0.3750, 0.0181]).double()
spikes = [t.view(1, 8, 1, 1, 1) for t in (weights.log(), means, torch.full_like(means, -7))]
y = torch.full((1, 1, 1, 1), 0.255, dtype=torch.float64)
found = newton(y, spikes[0].softmax(1), *spikes[1:], 100)
assert abs(mixture.log_odds(found, *spikes)[0] - y) < 1e-9
"""


def test_roots_are_those_of_the_cpu():
    environment = {**os.environ, "TRITON_INTERPRET": "1"}
    result = subprocess.run([sys.executable, "-c", PROGRAM], env=environment, capture_output=True, text=True)
    assert result.returncode == 0, result.stderr
