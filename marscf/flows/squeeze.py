"""Squeeze: space to channels."""

import torch
from torch import Tensor
from torch.nn import functional

from marscf.flows.bijection import Bijection


class Squeeze(Bijection):
    """Each 2×2 patch of a channel becomes four channels side by side (RealNVP, arXiv 1605.08803)."""

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """Map `x (B,C,H,W)` to `(B,4C,H/2,W/2)`; log_det is 0."""
        return functional.pixel_unshuffle(x, 2), torch.zeros(len(x), dtype=x.dtype, device=x.device)

    def inverse(self, z: Tensor) -> Tensor:
        """Map `z (B,4C,H/2,W/2)` to `(B,C,H,W)`."""
        return functional.pixel_shuffle(z, 2)
