"""Coupling layers: one half of the channels is transformed, elementwise, given the other half.

The base class splits and joins; the children write the elementwise map.
"""

import torch
from torch import Tensor, nn
from torch.nn import functional

from marscf.flows.bijection import Bijection
from marscf.flows.mixture import inverse_log_odds, log_odds
from marscf.kernels.compiled import fused
from marscf.kernels.precision import exact
from marscf.nets.affine_net import AffineNet
from marscf.nets.gated_attention import GatedAttentionNet


class Coupling(Bijection):
    """`y = f(x; θ(c))` for the half that changes, `x`, and the half that stays, `c`.

    Subclasses owe `elementwise` and `elementwise_inverse`, and say with `changes_first` which half changes.
    Raises no error for an odd number of channels: the second half is then the larger.
    """

    changes_first = False

    def __init__(self, net: nn.Module):
        super().__init__()
        self.net = net

    def elementwise(self, x: Tensor, raw: Tensor) -> tuple[Tensor, Tensor]:
        """Map `x` given the network's output `raw`; returns `y` and `log |dy/dx|`, both shaped as `x`."""
        raise NotImplementedError

    def elementwise_inverse(self, y: Tensor, raw: Tensor) -> Tensor:
        """The inverse of `elementwise` in its first argument."""
        raise NotImplementedError

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """See `Bijection.forward`."""
        first, second = self._split(x)
        moved, still = (first, second) if self.changes_first else (second, first)
        raw = self.net(still)
        with exact(x):
            moved, log_slope = self.elementwise(moved, raw.to(x.dtype))
            return self._join(moved, still), log_slope.flatten(1).sum(1)

    def inverse(self, z: Tensor) -> Tensor:
        """See `Bijection.inverse`."""
        first, second = self._split(z)
        moved, still = (first, second) if self.changes_first else (second, first)
        raw = self.net(still)
        with exact(z):
            return self._join(self.elementwise_inverse(moved, raw.to(z.dtype)), still)

    @staticmethod
    def _split(x: Tensor) -> tuple[Tensor, Tensor]:
        half = x.shape[1] // 2
        return x[:, :half], x[:, half:]

    def _join(self, moved: Tensor, still: Tensor) -> Tensor:
        return torch.cat((moved, still) if self.changes_first else (still, moved), dim=1)


class AffineCoupling(Coupling):
    """`y = σ(s + 2) x + t` (Glow); shift t and raw scale s alternate in the network's output channels."""

    def __init__(self, channels: int, hidden_channels: int):
        half = channels // 2
        super().__init__(AffineNet(half, hidden_channels, 2 * (channels - half)))

    @fused
    def elementwise(self, x: Tensor, raw: Tensor) -> tuple[Tensor, Tensor]:
        """See `Coupling.elementwise`."""
        shift, scale = raw[:, 0::2], raw[:, 1::2] + 2
        return x * torch.sigmoid(scale) + shift, functional.logsigmoid(scale)

    def elementwise_inverse(self, y: Tensor, raw: Tensor) -> Tensor:
        """See `Coupling.elementwise_inverse`."""
        shift, scale = raw[:, 0::2], raw[:, 1::2] + 2
        return (y - shift) / torch.sigmoid(scale)


class MixLogCDFCoupling(Coupling):
    """`y = (logit F(x) + b) exp(a)`, F the CDF of a mixture of logistics (Flow++, arXiv 1902.00275).

    The network's output is, a channel of x: raw scale, b, and logits, means and log-scales of the K
    components; `a = rescale tanh(raw scale)`, log-scales are at least -7. `net` are the options of the
    `GatedAttentionNet`.
    """

    changes_first = True

    def __init__(self, channels: int, hidden_channels: int, *, components: int, **net):
        half = channels // 2
        outputs = half * (2 + 3 * components)
        super().__init__(GatedAttentionNet(channels - half, hidden_channels, outputs, **net))
        self.components = components
        self.rescale = nn.Parameter(torch.ones(half, 1, 1))

    def parameters_from(self, raw: Tensor) -> tuple[Tensor, Tensor, Tensor, Tensor, Tensor]:
        """Split the network's output into a, b `(B,C,H,W)` and logits, means, log-scales `(B,K,C,H,W)`."""
        k = self.components
        raw = raw.unflatten(1, (2 + 3 * k, -1))
        scale, shift, logits, means, log_scales = raw.split((1, 1, k, k, k), dim=1)
        scale = self.rescale * torch.tanh(scale.squeeze(1))
        return scale, shift.squeeze(1), logits, means, log_scales.clamp(min=-7)

    @fused
    def elementwise(self, x: Tensor, raw: Tensor) -> tuple[Tensor, Tensor]:
        """See `Coupling.elementwise`."""
        scale, shift, *mixture = self.parameters_from(raw)
        value, log_slope = log_odds(x, *mixture)
        return (value + shift) * torch.exp(scale), log_slope + scale

    def elementwise_inverse(self, y: Tensor, raw: Tensor) -> Tensor:
        """See `Coupling.elementwise_inverse`."""
        scale, shift, *mixture = self.parameters_from(raw)
        return inverse_log_odds(y * torch.exp(-scale) - shift, *mixture)
