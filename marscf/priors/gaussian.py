"""Gaussian priors."""

import math

import torch
from torch import Tensor, nn

from marscf.counting import tick
from marscf.kernels.precision import exact
from marscf.nets.affine_net import ZeroConv2d
from marscf.priors.prior import Prior

HALF_LOG_2PI = 0.5 * math.log(2 * math.pi)


def gaussian_log_density(z: Tensor, mean: Tensor, log_scale: Tensor) -> Tensor:
    """Log density, in nats, of a Gaussian at each element of `z`."""
    return -0.5 * ((z - mean) * torch.exp(-log_scale)).square() - log_scale - HALF_LOG_2PI


class GaussianPrior(Prior):
    """Glow's prior: every dimension at once, mean and log-scale from the context, or learned per channel.

    With a context, one zero-initialised convolution gives both, alternating by channel; at the last level
    they are learned constants (Kingma and Dhariwal, arXiv 1807.03039).
    """

    def __init__(self, channels: int, context_channels: int | None = None):
        super().__init__()
        self.net = None if context_channels is None else ZeroConv2d(context_channels, 2 * channels)
        if self.net is None:
            self.constants = nn.Parameter(torch.zeros(1, 2 * channels, 1, 1))

    def _moments(self, context: Tensor | None, like: Tensor) -> tuple[Tensor, Tensor]:
        raw = self.constants if self.net is None else self.net(context).to(like.dtype)
        return raw[:, 0::2], raw[:, 1::2]

    def log_prob(self, z: Tensor, context: Tensor | None = None) -> Tensor:
        """See `Prior.log_prob`."""
        mean, log_scale = self._moments(context, z)
        with exact(z):
            return gaussian_log_density(z, mean, log_scale).flatten(1).sum(1)

    def sample(self, context: Tensor | None, noise: Tensor) -> Tensor:
        """See `Prior.sample`: one sequential step."""
        tick()
        mean, log_scale = self._moments(context, noise)
        return mean + torch.exp(log_scale) * noise
