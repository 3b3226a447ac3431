"""Affine maps of each position given those before it, by a causal Transformer (TarFlow, arXiv 2412.06329)."""

from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from marscf.counting import tick
from marscf.flows.bijection import Bijection
from marscf.kernels.precision import at_least_float32
from marscf.nets.causal_transformer import CausalTransformer


@dataclass(frozen=True)
class Guidance:
    """Away from what blurred attention predicts (section 2.6): `p + w_t (p - p')`, `w_t = t/(T-1) · weight`.

    p are a position's mean and log-scale, p' the same with the attention's logits divided by `temperature`.
    """

    weight: float
    temperature: float


class CausalAffine(Bijection):
    """`z_t = (x_t - m_t) exp(-a_t)`, where `m_t, a_t` depend on `x_s`, s < t (equations 3 and 4).

    Positions are those of an image `(B,C,H,W)` in raster order, or `backwards`. The forward map is parallel;
    its inverse takes one sequential step per position.
    """

    def __init__(self, net: CausalTransformer, backwards: bool):
        super().__init__()
        self.net, self.backwards = net, backwards

    def forward(self, x: Tensor, context: Any = None) -> tuple[Tensor, Tensor]:
        """See `Bijection.forward`."""
        sequence = self._sequence(x)
        mean, log_scale = at_least_float32(self.net(sequence)).chunk(2, dim=2)
        z = (sequence - mean) * torch.exp(-log_scale)
        return self._image(z, x), -log_scale.flatten(1).sum(1)

    def inverse(self, z: Tensor, context: Any = None) -> Tensor:
        """See `Bijection.inverse`; with a gradient, it is not cached, and so takes far longer.

        With a `Guidance` as context it is no inverse, but draws a guided sample.
        """
        sequence = self._sequence(z)
        if torch.is_grad_enabled() and (z.requires_grad or self.net.positions.requires_grad):
            return self._image(self._inverse(sequence), z)
        length = sequence.shape[1]
        x, steps = torch.empty_like(sequence), self.net.begin(len(z))
        blurred = self.net.begin(len(z), context.temperature) if isinstance(context, Guidance) else None
        x[:, 0] = sequence[:, 0]
        tick(length)
        for t in range(1, length):
            params = steps.next(x[:, t - 1])
            if blurred is not None:
                weight = context.weight * t / (length - 1)
                params = params + weight * (params - blurred.next(x[:, t - 1]))
            mean, log_scale = params.chunk(2, dim=1)
            x[:, t] = sequence[:, t] * torch.exp(log_scale) + mean
        return self._image(x, z)

    def _inverse(self, sequence: Tensor) -> Tensor:
        """Position after position, by the whole network each time: nothing is written in place."""
        x = list(sequence[:, :1].unbind(1))
        rest = torch.zeros_like(sequence)
        for t in range(1, sequence.shape[1]):
            known = torch.cat([torch.stack(x, dim=1), rest[:, t:]], dim=1)
            mean, log_scale = self.net(known)[:, t].chunk(2, dim=1)
            x.append(sequence[:, t] * torch.exp(log_scale) + mean)
        tick(sequence.shape[1])
        return torch.stack(x, dim=1)

    def _sequence(self, x: Tensor) -> Tensor:
        sequence = x.flatten(2).transpose(1, 2)
        return sequence.flip(1) if self.backwards else sequence

    def _image(self, sequence: Tensor, like: Tensor) -> Tensor:
        sequence = sequence.flip(1) if self.backwards else sequence
        return sequence.transpose(1, 2).reshape(like.shape)
