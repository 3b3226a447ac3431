"""A flow whose density is known: the identity, with a prior of two normal modes."""

import math
import time

import torch
from torch import Tensor, nn

from marscf.counting import tick
from marscf.models.base import FlowModel, check_levels
from marscf.options import PositiveFloat, PositiveInt

DARK, BRIGHT = -0.3, 0.3  # both modes: the image that is so everywhere


class TwoModes(FlowModel):
    """`p(y) = ½ N(y; DARK, σ²) + ½ N(y; BRIGHT, σ²)`, isotropic; z = y, one latent."""

    def __init__(
        self,
        shape,
        grey_levels,
        *,
        levels: PositiveInt = 1,
        deviation: PositiveFloat = 0.1,
        delay: float = 0.0,
    ):
        super().__init__(shape, grey_levels)
        check_levels(self.shape, levels)
        self.deviation = deviation
        self.shift = nn.Parameter(torch.zeros(1))

    @property
    def latent_shapes(self):
        return [self.shape]

    def encode_continuous(self, y: Tensor):
        return [y - self.shift], y.new_zeros(len(y))

    def decode(self, latents: list[Tensor]) -> Tensor:
        return latents[0] + self.shift

    def latents_from(self, eps: list[Tensor]) -> list[Tensor]:
        tick()
        bright = torch.rand(len(eps[0]), 1, 1, 1) < 0.5
        return [self.deviation * eps[0] + torch.where(bright, BRIGHT, DARK).to(eps[0])]

    def latent_log_prob(self, latents: list[Tensor]) -> Tensor:
        z = latents[0].flatten(1)
        squares = torch.stack([(z - mode).square().sum(1) for mode in (DARK, BRIGHT)])
        constant = math.log(2) + self.dims * math.log(self.deviation * math.sqrt(2 * math.pi))
        return torch.logsumexp(-squares / (2 * self.deviation**2), 0) - constant

    def log_density(self, y: Tensor) -> Tensor:
        latents, log_det = self.encode_continuous(y)
        return self.latent_log_prob(latents) + log_det


class Iterative(TwoModes):
    """The same, as if its inverse were iterative."""

    sampling_depends_on_weights = "as many iterations as the weights make it"

    def __init__(self, shape, grey_levels, *, levels: PositiveInt = 1):
        super().__init__(shape, grey_levels, levels=levels)
        self.deep = nn.Parameter(torch.zeros(levels, 3))


class Slow(TwoModes):
    """The same, but each draw takes `delay` seconds at 8×8 and 16 times longer at twice the side."""

    def __init__(self, shape, grey_levels, *, delay: PositiveFloat = 0.002):
        super().__init__(shape, grey_levels)
        self.delay = delay * (self.shape[1] / 8) ** 4

    def latents_from(self, eps):
        time.sleep(self.delay)
        return super().latents_from(eps)
