"""The step-by-step reference and the fast code are the same mathematics."""

import pytest
import torch

from marscf.bench.reference import stepwise
from marscf.bench.work import trained_like
from marscf.kernels import plain

SMALL = {"levels": 2, "steps": 2, "channels": 8, "lstm_channels": 6, "lstm_layers": 2, "dropout": 0.0}
CASES = [("affine", "mar"), ("affine", "gaussian"), ("mixlogcdf", "mar")]


@pytest.mark.parametrize(("coupling", "prior"), CASES)
def test_reference_agrees_in_float64(coupling, prior):
    options = {**SMALL, "coupling": coupling, "prior": prior, "blocks": 2, "components": 4, "heads": 2}
    fast = trained_like(options, 8, torch.device("cpu")).double()
    slow = stepwise(fast)
    generator = torch.Generator().manual_seed(3)
    x = torch.randint(0, 256, (3, 3, 8, 8), generator=generator, dtype=torch.uint8)
    noise = fast.draw_noise(3, generator)
    results = []
    for model in (fast, slow):
        model.train()
        model.zero_grad()
        with plain(model is slow):
            loss = model.training_loss(x, noise)
            loss.sum().backward()
            with torch.no_grad():
                image = model.eval().decode_noise(fast.draw_eps(3, generator=generator.manual_seed(4)))
        gradient = torch.cat([p.grad.flatten() for p in model.parameters()])
        results.append((loss.detach(), gradient, image))
    for ours, theirs, tolerance in zip(*results, (1e-9, 1e-7, 1e-6), strict=True):
        torch.testing.assert_close(ours, theirs, rtol=tolerance, atol=tolerance)
