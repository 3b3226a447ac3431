"""Validation bits/dim during training: what chooses the weights."""

import math

import numpy as np
import torch

from marscf.files import seed_from
from marscf.kernels.precision import tf32
from marscf.models.base import DensityModel
from marscf.settings import RunConfig
from marscf.training.distributed import Processes
from marscf.training.interrupt import Stop


class Validation:
    """Bits/dim of the first `validation_images` of the validation split, each time with the same noise."""

    def __init__(self, images: np.ndarray, config: RunConfig, processes: Processes):
        self.images = np.array(images[: config.training.validation_images])
        self.batch_size = config.training.batch_size
        self.seed = seed_from(config.seed_value, "validation")
        self.dims = config.data.dims
        self.processes = processes

    @torch.no_grad()
    def __call__(self, model: DensityModel, stop: Stop) -> float | None:
        """Return the mean bits/dim over all processes, or None when asked to stop on the way."""
        processes = self.processes
        generator = torch.Generator(processes.device).manual_seed(self.seed)
        total = torch.zeros((), dtype=torch.float64, device=processes.device)
        model.eval()
        for start in range(0, len(self.images), self.batch_size):
            if processes.any(stop.requested()):
                return None
            x = torch.from_numpy(self.images[start : start + self.batch_size]).to(processes.device)
            noise = model.draw_noise(len(x), generator)
            mine = slice(processes.rank, None, processes.count)
            if len(x[mine]):
                torch.manual_seed(self.seed)  # for models whose estimate draws more than its noise
                with tf32(False):  # as evaluation
                    log_prob = model.log_prob(x[mine], None if noise is None else noise[mine])
                total -= log_prob.double().sum()
        return processes.sum(total).item() / (len(self.images) * self.dims * math.log(2))
