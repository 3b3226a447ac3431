"""A density model small enough to train in milliseconds, with all that resuming must get right."""

import torch
from torch import nn

from marscf.models.base import DensityModel


class Tiny(DensityModel):
    """Each grey level by a categorical distribution, given the pixels above and to the left.

    It has what makes exact resuming hard: data-dependent initialisation, dropout, noise and a buffer that
    every training step changes.
    """

    can_recompute = True

    def __init__(self, shape, grey_levels, *, channels: int = 4, dropout: float = 0.1, poison: float = 0.0):
        super().__init__(shape, grey_levels)
        self.poison = poison
        self.embed = nn.Conv2d(shape[0], channels, 3)
        self.dropout = nn.Dropout(dropout)
        self.head = nn.Conv2d(channels, shape[0] * grey_levels, 1)
        self.register_buffer("mean", torch.zeros(()))
        self.register_buffer("calls", torch.zeros((), dtype=torch.long))

    def draw_noise(self, n, generator=None):
        device = generator.device if generator is not None else "cpu"
        return torch.rand(n, *self.shape, generator=generator, device=device).to(self.device)

    def initialise(self, x, noise=None):
        self.mean.copy_(x.float().mean())

    def log_prob(self, x, noise=None, estimate=None):
        if self.training:
            self.calls += 1
        y = (x.float() + noise - self.mean) / self.grey_levels
        if self.poison and self.training and self.calls >= self.poison:
            y = y * torch.nan
        hidden = torch.relu(self.embed(nn.functional.pad(y, (2, 0, 3, 0))[:, :, :-1]))
        logits = self.head(self.dropout(hidden)).unflatten(1, (self.shape[0], self.grey_levels))
        log_p = logits.log_softmax(2).gather(2, x.long()[:, :, None])
        return log_p.flatten(1).sum(1)

    def sample(self, n, temperature=1.0, generator=None):
        raise NotImplementedError("it is trained only")


class Unable(Tiny):
    """The same, without activation checkpointing."""

    can_recompute = False

    def __init__(self, *args, **options):
        super().__init__(*args, **options)
