"""Checkerboard: the black and the white squares of the image become two halves of the channels.

With `stripes` its even and its odd columns do.
"""

from typing import Any

import torch
from torch import Tensor

from marscf.flows.bijection import Bijection


class Checkerboard(Bijection):
    """Black squares (row + column even), then white ones, at half the width (RealNVP, arXiv 1605.08803).

    With `stripes` even columns, then odd ones, which is what the public code of Flow++ calls a checkerboard.
    """

    def __init__(self, stripes: bool = False):
        super().__init__()
        self.stripes = stripes

    def forward(self, x: Tensor, context: Any = None) -> tuple[Tensor, Tensor]:
        """Map `x (B,C,H,W)`, W even, to `(B,2C,H,W/2)`; log_det is 0."""
        even, odd = x.unflatten(3, (-1, 2)).unbind(4)
        return self._swap_odd_rows(even, odd), x.new_zeros(len(x))

    def inverse(self, z: Tensor, context: Any = None) -> Tensor:
        """Map `z (B,2C,H,W/2)` to `(B,C,H,W)`."""
        even, odd = self._swap_odd_rows(*z.chunk(2, dim=1)).chunk(2, dim=1)
        return torch.stack((even, odd), dim=4).flatten(3)

    def _swap_odd_rows(self, a: Tensor, b: Tensor) -> Tensor:
        if self.stripes:
            return torch.cat((a, b), dim=1)
        odd_row = (torch.arange(a.shape[2], device=a.device) % 2 == 1)[:, None]
        return torch.cat((torch.where(odd_row, b, a), torch.where(odd_row, a, b)), dim=1)


class UndoCheckerboard(Checkerboard):
    """`Checkerboard` the other way round: halves to squares."""

    def forward(self, x: Tensor, context: Any = None) -> tuple[Tensor, Tensor]:
        """Map `x (B,2C,H,W/2)` to `(B,C,H,W)`; log_det is 0."""
        return super().inverse(x), x.new_zeros(len(x))

    def inverse(self, z: Tensor, context: Any = None) -> Tensor:
        """Map `z (B,C,H,W)`, W even, to `(B,2C,H,W/2)`."""
        return super().forward(z)[0]
