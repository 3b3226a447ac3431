"""The same mathematics step by step, as the papers write it and the authors' code runs it.

`stepwise(model)` returns a copy of a `MultiScaleFlow` with equal weights in which nothing is fused, folded,
batched over steps or cached: the yardstick of `marscf bench`, and a second opinion on the fast code.
"""

import copy
import math
import types

import torch
from torch import Tensor
from torch.nn import functional

from marscf.counting import tick
from marscf.flows.conv1x1 import InvertibleConv1x1
from marscf.flows.coupling import MixLogCDFCoupling
from marscf.models.multiscale_flow import MultiScaleFlow
from marscf.nets.affine_net import NormConv2d, ZeroConv2d
from marscf.nets.gated_attention import GatedAttention, position_code
from marscf.nets.weight_norm import WeightNormConv2d, WeightNormLinear
from marscf.priors.gaussian import gaussian_log_density
from marscf.priors.mar import MARPrior

BISECTIONS = 100


def stepwise(model: MultiScaleFlow) -> MultiScaleFlow:
    """Return a copy of the model, with the same weights, that computes step by step."""
    reference = copy.deepcopy(model)
    for module in reference.modules():
        if isinstance(module, MARPrior):  # the whole image at once
            module.lstm.dilation *= module.lattice
            module.lstm.padding *= module.lattice
        for name, function in _METHODS.get(type(module), {}).items():
            setattr(module, name, types.MethodType(function, module))
    return reference


# ---- flow steps


def _conv1x1_weight(self: InvertibleConv1x1) -> Tensor:
    lower, upper = self.factors()
    return self.permutation @ (lower @ upper)


def _conv1x1_inverse_weight(self: InvertibleConv1x1) -> Tensor:
    lower, upper = (torch.inverse(factor.double()) for factor in self.factors())
    return (upper @ (lower @ self.permutation.double().inverse())).to(self.lower.dtype)


# ---- networks


def _norm_conv(self: NormConv2d, x: Tensor, relu: bool = False) -> Tensor:
    h = functional.conv2d(x, self.weight, padding=self.padding)
    h = (h + self.norm.bias) * torch.exp(self.norm.log_scale)
    return functional.relu(h) if relu else h


def _zero_conv(self: ZeroConv2d, x: Tensor) -> Tensor:
    return functional.conv2d(x, self.weight, self.bias, padding=1) * torch.exp(3 * self.log_scale)


def _normalised(self: WeightNormConv2d | WeightNormLinear) -> Tensor:
    return self.direction * (self.gain / self._norm())


def _weight_norm_conv(self: WeightNormConv2d, x: Tensor) -> Tensor:
    return functional.conv2d(x, _normalised(self), self.bias, padding=self.padding)


def _weight_norm_linear(self: WeightNormLinear, x: Tensor) -> Tensor:
    return functional.linear(x, _normalised(self), self.bias)


def _attention(self: GatedAttention, x: Tensor, code: Tensor) -> Tensor:
    batch, height, width, channels = x.shape
    h = x.reshape(batch, height * width, channels)
    h = h + position_code.__wrapped__(height * width, channels, x.device).to(h.dtype)
    heads = self.project(h).view(batch, height * width, 3, self.heads, channels // self.heads)
    key, value, query = heads.permute(2, 0, 3, 1, 4)
    weights = torch.softmax(query @ key.transpose(2, 3) / math.sqrt(channels // self.heads), -1)
    weights = functional.dropout(weights, self.weights_dropout, self.training)
    h = (weights @ value).transpose(1, 2).reshape(batch, height, width, channels)
    a, b = self.gate(h).chunk(2, -1)
    return a * torch.sigmoid(b)


# ---- mixtures of logistics


def _mixture_terms(x: Tensor, logits: Tensor, means: Tensor, log_scales: Tensor) -> list[Tensor]:
    weights = functional.log_softmax(logits, 1)
    z = (x.unsqueeze(1) - means) * torch.exp(-log_scales)
    return [
        torch.logsumexp(weights + functional.logsigmoid(z), 1),
        torch.logsumexp(weights + functional.logsigmoid(-z), 1),
        torch.logsumexp(weights + z - log_scales - 2 * functional.softplus(z), 1),
    ]


def _mixture_forward(self: MixLogCDFCoupling, x: Tensor, raw: Tensor) -> tuple[Tensor, Tensor]:
    scale, shift, *mixture = self.parameters_from(raw)
    log_cdf, log_survival, log_pdf = _mixture_terms(x, *mixture)
    value = (log_cdf - log_survival + shift) * torch.exp(scale)
    return value, log_pdf - log_cdf - log_survival + scale


def _mixture_inverse(self: MixLogCDFCoupling, y: Tensor, raw: Tensor) -> Tensor:
    scale, shift, logits, means, log_scales = self.parameters_from(raw)
    odds = y * torch.exp(-scale) - shift
    spread = 20 * torch.exp(log_scales).sum(1, keepdim=True)
    low, high = (means - spread).amin(1), (means + spread).amax(1)
    x = torch.zeros_like(y)
    for _ in range(BISECTIONS):
        log_cdf, log_survival, _ = _mixture_terms(x, logits, means, log_scales)
        above = log_cdf - log_survival > odds
        low, high = torch.where(above, low, x), torch.where(above, x, high)
        middle = (low + high) / 2
        if (middle - x).abs().max() <= 1e-10:
            break
        x = middle
    return x


# ---- the mAR prior


def _mar_inputs(self: MARPrior, channel: Tensor, condition: Tensor | None) -> Tensor:
    inputs = channel if condition is None else torch.cat((channel, condition), 1)
    return self.lstm.input_gates(self.embed(inputs), 0)


def _mar_log_prob(self: MARPrior, z: Tensor, context: Tensor | None = None) -> Tensor:
    condition = None if self.condition is None else self.condition(context)
    channel, state, total = torch.zeros_like(z[:, :1]), None, 0.0
    for j in range(z.shape[1]):
        hidden, state = self.lstm.advance(_mar_inputs(self, channel, condition), state)
        mean, log_scale = self.moments(hidden).split(1, 1)
        channel = z[:, j : j + 1]
        total = total + gaussian_log_density(channel, mean, log_scale).flatten(1).sum(1)
    return total


def _mar_sample(self: MARPrior, context: Tensor | None, noise: Tensor) -> Tensor:
    condition = None if self.condition is None else self.condition(context)
    channel, state, channels = torch.zeros_like(noise[:, :1]), None, []
    for j in range(noise.shape[1]):
        tick()
        hidden, state = self.lstm.advance(_mar_inputs(self, channel, condition), state)
        mean, log_scale = self.moments(hidden).split(1, 1)
        channel = mean + torch.exp(log_scale) * noise[:, j : j + 1]
        channels.append(channel)
    return torch.cat(channels, 1)


_METHODS = {
    InvertibleConv1x1: {"weight": _conv1x1_weight, "inverse_weight": _conv1x1_inverse_weight},
    NormConv2d: {"forward": _norm_conv},
    ZeroConv2d: {"forward": _zero_conv},
    WeightNormConv2d: {"forward": _weight_norm_conv},
    WeightNormLinear: {"forward": _weight_norm_linear},
    GatedAttention: {"forward": _attention},
    MixLogCDFCoupling: {"elementwise": _mixture_forward, "elementwise_inverse": _mixture_inverse},
    MARPrior: {"log_prob": _mar_log_prob, "sample": _mar_sample},
}
