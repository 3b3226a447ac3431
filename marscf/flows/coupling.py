"""Coupling layers: one half of the channels is transformed, elementwise, given the other half.

The base class splits and joins; the children write the elementwise map.
"""

from abc import abstractmethod
from typing import ClassVar

import torch
from torch import Tensor, nn
from torch.nn import functional

from marscf.flows.bijection import Bijection
from marscf.flows.mixture import inverse_log_odds, log_odds
from marscf.kernels.compiled import fused
from marscf.kernels.precision import exact


class Coupling(Bijection):
    """`y = f(x; net(c))`, with x the half that is transformed and c the half that stays as it is.

    Subclasses implement `elementwise` and `elementwise_inverse`. The number of channels is even. A context
    `(B,A,H,W)` is a further input of `net`.
    """

    #: Whether the first half is transformed, not the second.
    transforms_first: ClassVar[bool] = False

    def __init__(self, net: nn.Module):
        super().__init__()
        self.net = net

    @abstractmethod
    def elementwise(self, x: Tensor, params: Tensor) -> tuple[Tensor, Tensor]:
        """Map `x` given the network's output; return `y` and `log |dy/dx|`, both shaped as `x`."""

    @abstractmethod
    def elementwise_inverse(self, y: Tensor, params: Tensor) -> Tensor:
        """Invert `elementwise` in its first argument."""

    def forward(self, x: Tensor, context: Tensor | None = None) -> tuple[Tensor, Tensor]:
        """See `Bijection.forward`."""
        transformed, identity = self._split(x)
        params = self._params(identity, context)
        with exact(x):
            transformed, log_slope = self.elementwise(transformed, params.to(x.dtype))
            return self._join(transformed, identity), log_slope.flatten(1).sum(1)

    def inverse(self, z: Tensor, context: Tensor | None = None) -> Tensor:
        """See `Bijection.inverse`."""
        transformed, identity = self._split(z)
        params = self._params(identity, context)
        with exact(z):
            return self._join(self.elementwise_inverse(transformed, params.to(z.dtype)), identity)

    def _params(self, identity: Tensor, context: Tensor | None) -> Tensor:
        params: Tensor = self.net(identity) if context is None else self.net(identity, context)
        return params

    def _split(self, x: Tensor) -> tuple[Tensor, Tensor]:
        first, second = x.chunk(2, dim=1)
        return (first, second) if self.transforms_first else (second, first)

    def _join(self, transformed: Tensor, identity: Tensor) -> Tensor:
        halves = (transformed, identity) if self.transforms_first else (identity, transformed)
        return torch.cat(halves, dim=1)


class AffineCoupling(Coupling):
    """`y = σ(s + 2) x + t`, for the second half of the channels; with `shift_first` `y = σ(s + 2) (x + t)`.

    The output channels of `net`, two per channel of x, are t and s in turn. Glow's paper (arXiv 1807.03039)
    has the first, its code the second.
    """

    def __init__(self, net: nn.Module, shift_first: bool = False):
        super().__init__(net)
        self.shift_first = shift_first

    @fused
    def elementwise(self, x: Tensor, params: Tensor) -> tuple[Tensor, Tensor]:
        """See `Coupling.elementwise`."""
        shift, scale = params[:, 0::2], params[:, 1::2] + 2
        if self.shift_first:
            return (x + shift) * torch.sigmoid(scale), functional.logsigmoid(scale)
        return x * torch.sigmoid(scale) + shift, functional.logsigmoid(scale)

    def elementwise_inverse(self, y: Tensor, params: Tensor) -> Tensor:
        """See `Coupling.elementwise_inverse`."""
        shift, scale = params[:, 0::2], params[:, 1::2] + 2
        if self.shift_first:
            return y / torch.sigmoid(scale) - shift
        return (y - shift) / torch.sigmoid(scale)


class MixLogCDFCoupling(Coupling):
    """`y = (logit F(x) + b) exp(a)`, F the CDF of a mixture of logistics (Flow++, arXiv 1902.00275).

    The first half is transformed. Per channel of it, `net` puts out `params_per_channel(K)` numbers: raw
    scale, b, and the logits, means and log-scales of the K components. `a = rescale tanh(raw scale)`; a
    log-scale is at least -7.

    Args:
        net: of the half that stays.
        channels: of the half that is transformed.
        components: K.
    """

    transforms_first = True

    def __init__(self, net: nn.Module, channels: int, components: int):
        super().__init__(net)
        self.components = components
        self.rescale = nn.Parameter(torch.ones(channels, 1, 1))

    @staticmethod
    def params_per_channel(components: int) -> int:
        """How many numbers of the network's output belong to one channel."""
        return 2 + 3 * components

    def parameters_from(self, params: Tensor) -> tuple[Tensor, Tensor, Tensor, Tensor, Tensor]:
        """Split the network's output into a, b `(B,C,H,W)` and logits, means, log-scales `(B,K,C,H,W)`."""
        k = self.components
        params = params.unflatten(1, (self.params_per_channel(k), -1))
        scale, shift, logits, means, log_scales = params.split((1, 1, k, k, k), dim=1)
        scale = self.rescale * torch.tanh(scale.squeeze(1))
        return scale, shift.squeeze(1), logits, means, log_scales.clamp(min=-7)

    @fused
    def elementwise(self, x: Tensor, params: Tensor) -> tuple[Tensor, Tensor]:
        """See `Coupling.elementwise`."""
        scale, shift, logits, means, log_scales = self.parameters_from(params)
        value, log_slope = log_odds(x, logits, means, log_scales)
        return (value + shift) * torch.exp(scale), log_slope + scale

    def elementwise_inverse(self, y: Tensor, params: Tensor) -> Tensor:
        """See `Coupling.elementwise_inverse`."""
        scale, shift, logits, means, log_scales = self.parameters_from(params)
        return inverse_log_odds(y * torch.exp(-scale) - shift, logits, means, log_scales)
