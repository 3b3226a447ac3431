"""The pieces of work that are measured: a training step, an evaluation, a batch of samples."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from marscf.bench.measure import kept_bytes
from marscf.models.multiscale_flow import MultiScaleFlow


@dataclass
class Work:
    """One piece of work, ready to be called; `loss` is its forward pass where it trains."""

    call: Callable[[], object]
    model: MultiScaleFlow
    loss: Callable[[], Tensor] | None = None

    def kept_bytes(self) -> int:
        """Bytes of activations kept for the backward pass; 0 where there is none."""
        return kept_bytes(self.loss, list(self.model.parameters())) if self.loss else 0


def trained_like(options: dict[str, Any], side: int, device: torch.device, seed: int = 0) -> MultiScaleFlow:
    """A model with data-initialised ActNorm and small noise where weights start at zero."""
    torch.manual_seed(seed)
    model = MultiScaleFlow((3, side, side), 256, **options)
    model.initialise(torch.randint(0, 256, (16, 3, side, side), dtype=torch.uint8), model.draw_noise(16))
    with torch.no_grad():
        for parameter in model.parameters():
            if not parameter.any():
                parameter.normal_(std=0.01)
    return model.to(device)


def prepare(kind: str, model: MultiScaleFlow, batch_size: int, low_precision: bool = False) -> Work:
    """Return the work of one kind on a batch of noise images, data on the model's device.

    `training` is forward, backward and an Adamax step; `evaluation` is `log_prob` without gradients;
    `sampling` is from noise to `uint8` images.
    """
    generator = torch.Generator().manual_seed(1)
    x = torch.randint(0, 256, (batch_size, *model.shape), generator=generator).to(model.device, torch.uint8)
    noise = model.draw_noise(batch_size, generator)
    model.train(kind == "training")
    if kind == "training":
        optimiser = torch.optim.Adamax(model.parameters(), lr=1e-5)

        def loss() -> Tensor:
            with torch.autocast(model.device.type, torch.bfloat16, enabled=low_precision):
                return model.training_loss(x, noise).mean()

        def step() -> None:
            optimiser.zero_grad(set_to_none=True)
            loss().backward()
            optimiser.step()

        return Work(step, model, loss)
    if kind == "evaluation":
        return Work(torch.no_grad()(lambda: model.log_prob(x, noise)), model)
    eps = model.draw_eps(batch_size, generator=generator)
    return Work(torch.no_grad()(lambda: model.to_discrete(model.decode_noise(eps))), model)
