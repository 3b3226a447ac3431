"""The same mathematics step by step, as the papers write it and the authors' code runs it.

`stepwise(model)` returns a copy of a `MultiScaleFlow` with equal weights without what is fast by algebra:
layers that are folded into one, steps that are batched, images that are split into lattices. Run it inside
`kernels.plain()`, which leaves out everything else that is fast. It is the yardstick of `marscf bench`, and a
second opinion on the fast code.
"""

import copy
import types
from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor

from marscf.counting import tick
from marscf.flows.conv1x1 import InvertibleConv1x1
from marscf.models.multiscale_flow import MultiScaleFlow
from marscf.nets.conv_lstm import State
from marscf.priors.gaussian import gaussian_log_density
from marscf.priors.mar import MARPrior


def stepwise(model: MultiScaleFlow) -> MultiScaleFlow:
    """Return a copy of the model, with the same weights, that computes step by step."""
    reference = copy.deepcopy(model)
    for module in reference.modules():
        if isinstance(module, MARPrior):  # the whole image at once
            module.lstm.dilation *= module.lattice
        for name, function in _METHODS.get(type(module), {}).items():
            setattr(module, name, types.MethodType(function, module))
    return reference


# ---- the 1×1 convolution: inverses of both triangular factors


def _conv1x1_inverse_weight(self: InvertibleConv1x1) -> Tensor:
    lower, upper = (torch.inverse(factor.double()) for factor in self.factors())
    return (upper @ (lower @ self.permutation.double().inverse())).to(self.lower.dtype)


# ---- the mAR prior: one channel after the other, previous channel and context as one image


def _mar_moments(
    self: MARPrior, channel: Tensor, condition: Tensor | None, state: State | None
) -> tuple[Tensor, Tensor, State]:
    inputs = channel if condition is None else torch.cat((channel, condition), 1)
    gates = self.lstm.input_gates(self.embed(inputs), 0)
    hidden, state = self.lstm.advance(gates, state)
    mean, log_scale = self.moments(hidden).split(1, 1)
    return mean, log_scale, state


def _mar_log_prob(self: MARPrior, z: Tensor, context: Tensor | None = None) -> Tensor:
    condition = None if self.context_net is None else self.context_net(context)
    channel, state, total = torch.zeros_like(z[:, :1]), None, z.new_zeros(len(z))
    for j in range(z.shape[1]):
        mean, log_scale, state = _mar_moments(self, channel, condition, state)
        channel = z[:, j : j + 1]
        total = total + gaussian_log_density(channel, mean, log_scale).flatten(1).sum(1)
    return total


def _mar_sample(self: MARPrior, context: Tensor | None, noise: Tensor) -> Tensor:
    condition = None if self.context_net is None else self.context_net(context)
    channel, state, channels = torch.zeros_like(noise[:, :1]), None, []
    for j in range(noise.shape[1]):
        tick()
        mean, log_scale, state = _mar_moments(self, channel, condition, state)
        channel = mean + torch.exp(log_scale) * noise[:, j : j + 1]
        channels.append(channel)
    return torch.cat(channels, 1)


_METHODS: dict[type, dict[str, Callable[..., Any]]] = {
    InvertibleConv1x1: {"inverse_weight": _conv1x1_inverse_weight},
    MARPrior: {"log_prob": _mar_log_prob, "sample": _mar_sample},
}
