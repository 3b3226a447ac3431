"""The contract of a bijection.

`forward` runs from data to noise and `inverse` from noise to data;
`log p(x) = log p(forward(x)) + log_det`, with `log_det = log |det ∂z/∂x|` in nats.
"""

from torch import Tensor, nn


class Bijection(nn.Module):
    """An invertible map of image tensors `(B,C,H,W)`; subclasses owe `forward` and `inverse`."""

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """Map data to noise: `x (B,C,H,W)` → `z (B,C',H',W')` and `log_det (B,)` in nats."""
        raise NotImplementedError

    def inverse(self, z: Tensor) -> Tensor:
        """Map noise to data, the inverse of `forward` in `z`; differentiable in `z`."""
        raise NotImplementedError
