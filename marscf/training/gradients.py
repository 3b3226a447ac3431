"""Loss and gradients of one batch, whatever parts and processes it is split into."""

from collections.abc import Callable

import torch
from torch import Tensor, nn
from torch.nn.parallel import DistributedDataParallel

from marscf.files import seed_from
from marscf.kernels.compiled import fusing
from marscf.kernels.graphs import Replays
from marscf.kernels.precision import at_least_float32
from marscf.models.base import DensityModel
from marscf.settings import RunConfig
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


class RecordedGradients:
    """Loss and gradients of a whole batch on a GPU, recorded as one CUDA graph at the first call.

    The parameters' gradients are the recording's own tensors, overwritten by each call.
    """

    def __init__(self, model: nn.Module, mean_loss: Callable[[Tensor, Tensor | None], Tensor]):
        self.parameters = list(model.parameters())
        self.mean_loss = mean_loss
        self.gradients: list[Tensor | None] = []
        self.replays = Replays()

    def __call__(self, x: Tensor, noise: Tensor | None) -> Tensor:
        """Fill the parameters' gradients, and return the loss."""
        loss = self.replays.run(self._fill, [x, noise])
        for parameter, gradient in zip(self.parameters, self.gradients, strict=True):
            parameter.grad = gradient
        return loss

    def _fill(self, x: Tensor, noise: Tensor | None = None) -> Tensor:
        for parameter in self.parameters:
            parameter.grad = None
        loss = self.mean_loss(x, noise)
        loss.backward()
        self.gradients = [parameter.grad for parameter in self.parameters]
        return loss.detach()


class Gradients:
    """Fills the parameters' gradients with those of a batch's mean loss per sub-pixel.

    A batch is split into `accumulate` parts (rounded up to a multiple of the processes), which the processes
    share. Each part seeds torch's global generator by (seed, step, part), for dropout: with it, as many parts
    give the same numbers on one process as on several; without it, any number does, up to rounding.
    """

    def __init__(self, model: DensityModel, config: RunConfig, processes: Processes):
        training = config.training
        self.model = model
        self.loss = processes.parallel(Loss(model, training.precision))
        self.fuse = training.compile
        self.processes = processes
        self.parts = -(-training.accumulate // processes.count) * processes.count
        self.dims = config.data.dims
        self.seed = config.seed_value
        whole = self.parts == 1 and not training.activation_checkpointing
        self.recorded = None
        if whole and model.recorded:
            self.recorded = RecordedGradients(model, self.share_of_loss)

    def __call__(self, step: int, x: Tensor, noise: Tensor | None) -> Tensor:
        """Return the mean loss in nats per sub-pixel, over all processes, as a tensor on the device."""
        torch.manual_seed(seed_from(self.seed, "step", step))
        self.model.begin_step()
        with fusing(self.fuse):
            if self.recorded is not None:
                torch.manual_seed(seed_from(self.seed, "dropout", step, 0))
                return self.recorded(x, noise)
            return self.of_parts(step, x, noise)

    def share_of_loss(self, x: Tensor, noise: Tensor | None, images: int | None = None) -> Tensor:
        """Return a part's share of the mean loss of `images` (its own where None), nats per sub-pixel."""
        return self.loss(x, noise).sum() / ((images or len(x)) * self.dims)

    def of_parts(self, step: int, x: Tensor, noise: Tensor | None) -> Tensor:
        """Add up the gradients of this process's parts, one after the other."""
        total = torch.zeros((), device=x.device)
        mine = self.processes.share(self.parts)
        xs = x.tensor_split(self.parts)
        noises = [None] * self.parts if noise is None else noise.tensor_split(self.parts)
        for part in mine:
            torch.manual_seed(seed_from(self.seed, "dropout", step, part))
            last = part == mine[-1]
            if isinstance(self.loss, DistributedDataParallel):
                self.loss.require_backward_grad_sync = last
            loss = self.share_of_loss(xs[part], noises[part], len(x))
            (loss * self.processes.count).backward()  # the processes' gradients are averaged
            total += loss.detach()
        return self.processes.sum(total)
