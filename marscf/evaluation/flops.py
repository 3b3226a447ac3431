"""What a training step costs, counted rather than timed: the same on every machine."""

import copy

import torch
from torch.utils.flop_counter import FlopCounterMode

from marscf import kernels
from marscf.models.base import DensityModel

STEPS = 8  # of a model that draws something per step: Residual Flow's series has a random length


def training_flops(model: DensityModel, image: torch.Tensor) -> float | None:
    """Count the floating-point operations that training takes per image, for its loss and the gradients.

    Only convolutions and products of matrices count, a multiplication with its addition as two. The plain
    definitions are counted, so a faster kernel changes nothing. What is done once per batch is left out.

    Args:
        model: any model; it is left as it is.
        image: uint8 `(C,H,W)`.

    Returns:
        The mean over a few steps, or None for a model that is not trained by steps.
    """
    if model.closed_form:
        return None
    model, image = copy.deepcopy(model).cpu(), image.cpu()
    steps = 1 if type(model).begin_step is DensityModel.begin_step else STEPS
    one, two = (_count(model, image.expand(images, -1, -1, -1), steps) for images in (1, 2))
    return (two - one) / steps


def _count(model: DensityModel, x: torch.Tensor, steps: int) -> int:
    counter, generator = FlopCounterMode(display=False), torch.Generator().manual_seed(0)
    with torch.random.fork_rng(devices=[]), torch.enable_grad(), kernels.plain(), counter:
        torch.manual_seed(0)
        model.train()  # forgets what an earlier count derived from the weights
        for _ in range(steps):
            model.begin_step()
            model.training_loss(x, model.draw_noise(len(x), generator)).sum().backward()
    return counter.get_total_flops()
