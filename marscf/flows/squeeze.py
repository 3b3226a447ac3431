"""Squeeze: space to channels."""

from typing import Any

from torch import Tensor
from torch.nn import functional

from marscf.flows.bijection import Bijection


class Squeeze(Bijection):
    """Each 2×2 patch of a channel becomes four channels side by side (RealNVP, arXiv 1605.08803).

    With `by_pixel` all channels of the patch's first pixel come first, then those of the next in the row, and
    so on: the halves of the channels are then the even and the odd rows.
    """

    def __init__(self, by_pixel: bool = False):
        super().__init__()
        self.by_pixel = by_pixel

    def forward(self, x: Tensor, context: Any = None) -> tuple[Tensor, Tensor]:
        """Map `x (B,C,H,W)` to `(B,4C,H/2,W/2)`; log_det is 0."""
        z = functional.pixel_unshuffle(x, 2)
        if self.by_pixel:
            z = z.unflatten(1, (-1, 4)).transpose(1, 2).flatten(1, 2)
        return z, x.new_zeros(len(x))

    def inverse(self, z: Tensor, context: Any = None) -> Tensor:
        """Map `z (B,4C,H/2,W/2)` to `(B,C,H,W)`."""
        if self.by_pixel:
            z = z.unflatten(1, (4, -1)).transpose(1, 2).flatten(1, 2)
        return functional.pixel_shuffle(z, 2)
