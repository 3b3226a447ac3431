"""A histogram for each sub-pixel: the least that a density model must beat."""

from typing import TYPE_CHECKING

import numpy as np
import torch
from torch import Tensor, nn

from marscf.counting import tick
from marscf.errors import DataError
from marscf.models.base import DensityModel, Estimate, Shape, check_images
from marscf.nets import categorical
from marscf.options import PositiveFloat

if TYPE_CHECKING:
    from marscf.data.arrays import Joined

CHUNK = 1024  # images counted at a time


class PixelHistogram(DensityModel):
    """Independent categorical distributions, one per sub-pixel, with additive smoothing; exact likelihood.

    `P(x) = Π_d (count_d(x_d) + s) / (N + s·grey_levels)` after `fit`, uniform before. There is nothing to
    descend: `fit` is the maximum of the smoothed likelihood in closed form.

    Args:
        shape: (C, H, W) of the images.
        grey_levels: number of values of a sub-pixel.
        smoothing: s, images' worth of every grey level added to the counts.
    """

    closed_form = True

    def __init__(self, shape: Shape, grey_levels: int, *, smoothing: PositiveFloat = 1.0):
        super().__init__(shape, grey_levels)
        self.smoothing = smoothing
        self.logits = nn.Parameter(torch.zeros(*self.shape, grey_levels), requires_grad=False)

    @torch.no_grad()
    def fit(self, images: "np.ndarray | Joined") -> None:
        """Count the grey levels of `images (N,C,H,W) uint8`; raises `DataError` where they do not fit."""
        if images.ndim != 4 or images.shape[1:] != self.shape or len(images) == 0:
            raise DataError(f"expected images (N,{','.join(map(str, self.shape))}), got {images.shape}")
        counts = np.zeros(self.dims * self.grey_levels, dtype=np.int64)
        offsets = np.arange(self.dims, dtype=np.int64) * self.grey_levels
        for start in range(0, len(images), CHUNK):
            values = np.asarray(images[start : start + CHUNK]).reshape(-1, self.dims)
            if (highest := int(values.max())) >= self.grey_levels:
                raise DataError(f"grey level {highest} in images of {self.grey_levels} grey levels (0 first)")
            counts += np.bincount((values + offsets).ravel(), minlength=counts.size)
        smoothed = torch.from_numpy(counts).reshape(self.logits.shape).double() + self.smoothing
        self.logits.copy_((smoothed / smoothed.sum(-1, keepdim=True)).log())

    def log_prob(self, x: Tensor, noise: Tensor | None = None, estimate: Estimate | None = None) -> Tensor:
        """See `DensityModel.log_prob`; no noise is needed."""
        check_images(x, self.shape)
        log_probs = self.logits.log_softmax(-1).expand(len(x), *self.logits.shape)
        return log_probs.gather(-1, x.long()[..., None]).flatten(1).sum(1)

    @torch.no_grad()
    def sample(self, n: int, temperature: float = 1.0, generator: torch.Generator | None = None) -> Tensor:
        """See `DensityModel.sample`; `temperature` divides the logits. All sub-pixels at once: one step."""
        device = generator.device if generator is not None else "cpu"
        uniform = torch.rand(*self.shape, n, generator=generator, device=device).to(self.device)
        tick()
        return categorical.draw(self.logits / temperature, uniform).movedim(-1, 0).to(torch.uint8)
