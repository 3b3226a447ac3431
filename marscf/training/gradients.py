"""Loss and gradients of one batch, whatever parts and processes it is split into."""

from typing import Any

import torch
from torch import Tensor, nn

from marscf.files import seed_from
from marscf.models.base import DensityModel
from marscf.nets.precision import at_least_float32
from marscf.training.distributed import Processes


class Loss(nn.Module):
    """A model's training loss as a module's `forward`, which is what compilation and distribution wrap."""

    def __init__(self, model: DensityModel, precision: str):
        super().__init__()
        self.model = model
        self.precision = precision

    def forward(self, x: Tensor, noise: Tensor | None) -> Tensor:
        """Return the loss `(B,)` in nats."""
        with torch.autocast(x.device.type, torch.bfloat16, enabled=self.precision == "bfloat16"):
            return at_least_float32(self.model.training_loss(x, noise))


class Gradients:
    """Fills the parameters' gradients with those of a batch's mean loss per sub-pixel.

    A batch is split into `accumulate` parts (rounded up to a multiple of the processes), which the processes
    share. Each part seeds torch's global generator by (seed, step, part), for dropout: with it, as many parts
    give the same numbers on one process as on several; without it, any number does, up to rounding.
    """

    def __init__(self, model: DensityModel, config: dict[str, Any], processes: Processes):
        training = config["training"]
        loss = Loss(model, training["precision"])
        if training["compile"]:
            loss = torch.compile(loss)
        self.model = model
        self.loss = processes.parallel(loss)
        self.processes = processes
        self.parts = -(-training["accumulate"] // processes.count) * processes.count
        self.dims = config["data"]["dims"]
        self.seed = config["seed_value"]

    def __call__(self, step: int, x: Tensor, noise: Tensor | None) -> Tensor:
        """Return the mean loss in nats per sub-pixel, over all processes, as a tensor on the device."""
        torch.manual_seed(seed_from(self.seed, "step", step))
        self.model.begin_step()
        total = torch.zeros((), device=x.device)
        mine = self.processes.share(self.parts)
        xs = x.tensor_split(self.parts)
        noises = [None] * self.parts if noise is None else noise.tensor_split(self.parts)
        for part in mine:
            torch.manual_seed(seed_from(self.seed, "dropout", step, part))
            last = part == mine[-1]
            if self.processes.count > 1:
                self.loss.require_backward_grad_sync = last
            loss = self.loss(xs[part], noises[part]).sum() / (len(x) * self.dims)
            (loss * self.processes.count).backward()  # the processes' gradients are averaged
            total += loss.detach()
        return self.processes.sum(total)
