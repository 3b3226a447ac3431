"""The pieces of work that are measured: a training step, an evaluation, a batch of samples."""

import contextlib
import functools
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from marscf import kernels
from marscf.bench.measure import kept_bytes
from marscf.kernels.compiled import fusing
from marscf.kernels.graphs import Replays
from marscf.models.base import DensityModel, FlowModel
from marscf.models.multiscale_flow import MultiScaleFlow
from marscf.studies.weights import fill_zeros
from marscf.training.gradients import RecordedGradients
from marscf.training.optimizers import Adamax

NOISE = 0.01  # standard deviation of what weights that start at zero are given


@dataclass
class Work:
    """One piece of work, ready to be called; `loss` is its forward pass where it trains."""

    call: Callable[[], object]
    model: nn.Module
    loss: Callable[[], Tensor] | None = None

    def kept_bytes(self) -> int:
        """Bytes of activations kept for the backward pass; 0 where there is none."""
        return kept_bytes(self.loss, list(self.model.parameters())) if self.loss else 0


def trained_like(options: dict[str, Any], side: int, device: torch.device, seed: int = 0) -> MultiScaleFlow:
    """Return the multi-scale flow with weights as of one that is trained, by noise images."""
    torch.manual_seed(seed)
    model = MultiScaleFlow((3, side, side), 256, **options)
    as_trained(model, torch.randint(0, 256, (16, 3, side, side), dtype=torch.uint8))
    return model.to(device)


def as_trained(model: DensityModel, images: Tensor) -> None:
    """Put small noise where weights start at zero, then set ActNorm by the images."""
    fill_zeros(model, NOISE)
    if not model.closed_form:
        model.initialise(images, model.draw_noise(len(images)))


def noise_batch(model: DensityModel, n: int) -> tuple[Tensor, Tensor | None]:
    """Return noise images, uint8 `(N,C,H,W)`, and the noise that their likelihood takes."""
    generator = torch.Generator().manual_seed(1)
    x = torch.randint(0, model.grey_levels, (n, *model.shape), generator=generator)
    return x.to(model.device, torch.uint8), model.draw_noise(n, generator)


def prepare(
    kind: str,
    model: DensityModel,
    x: Tensor,
    low_precision: bool = False,
    recorded: bool = False,
    fuse: bool = False,
    checkpointing: bool = False,
    plain: bool = False,
) -> Work:
    """Return the work of one kind on a batch of images `x (N,C,H,W) uint8`, on the model's device.

    `training` is forward, backward and an Adamax step, its networks in bfloat16 with `low_precision`;
    `evaluation` is `log_prob` without gradients; `sampling` draws as many `uint8` images. `recorded` work
    is replayed as a CUDA graph, `fuse` compiles what is `fused`, `checkpointing` recomputes activations,
    `plain` work uses the kernels' definitions.
    """
    generator = torch.Generator().manual_seed(1)
    noise = model.draw_noise(len(x), generator)
    model.train(kind == "training")
    model.activation_checkpointing = checkpointing

    @contextlib.contextmanager
    def so() -> Iterator[None]:
        autocast = torch.autocast(model.device.type, torch.bfloat16, enabled=low_precision)
        with kernels.plain(plain), fusing(fuse), autocast:
            yield

    if kind == "training":

        def loss(x: Tensor = x, noise: Tensor | None = noise) -> Tensor:
            with so():
                return model.training_loss(x, noise).mean()

        # Hooks on what is kept would have compiled code compiled again.
        return Work(_training_step(model, loss, (x, noise), recorded, fuse), model, None if fuse else loss)

    function: Callable[..., Tensor] = model.log_prob
    inputs = [x] if noise is None else [x, noise]
    if kind == "sampling" and isinstance(model, FlowModel):
        function, inputs = _decoded(model), model.draw_eps(len(x), generator=generator)
    elif kind == "sampling":  # pixel by pixel, and never recorded
        function, inputs = functools.partial(model.sample, len(x)), []

    replays = Replays()

    def call() -> Any:
        with torch.no_grad(), so():
            return replays.run(function, inputs) if recorded else function(*inputs)

    return Work(call, model)


def _decoded(model: FlowModel) -> Callable[..., Tensor]:
    return lambda *eps: model.to_discrete(model.decode_noise(list(eps)))


def _training_step(
    model: DensityModel,
    loss: Callable[[Tensor, Tensor | None], Tensor],
    batch: tuple[Tensor, Tensor | None],
    recorded: bool,
    fuse: bool,
) -> Callable[[], None]:
    """Forward, backward and an Adamax step on one batch."""
    optimiser = Adamax(model.parameters())
    gradients = RecordedGradients(model, loss) if recorded else None

    def step() -> None:
        model.begin_step()
        with fusing(fuse):  # the backward pass has functions that are compiled, too
            if gradients is not None:
                gradients(*batch)
            else:
                optimiser.zero_grad()
                loss(*batch).backward()
        optimiser.step(1e-5)

    return step
