"""Invertible 1×1 convolution: a learned mixing of the channels."""

from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional

from marscf.flows.bijection import Bijection
from marscf.kernels.cached import derived
from marscf.kernels.precision import exact


class InvertibleConv1x1(Bijection):
    """`z = W x` at every pixel, `W = P L (U + diag(s))` (Kingma and Dhariwal, arXiv 1807.03039, section 3.2).

    P is a fixed permutation, L unit lower and U strictly upper triangular (only those parts of `lower` and
    `upper` count), `s = sign_s exp(log_s)`. Starts as a random rotation, or as the identity with noise of
    standard deviation `noise`.
    """

    sign_s: Tensor
    permutation: Tensor

    def __init__(self, channels: int, noise: float | None = None):
        super().__init__()
        start = torch.randn(channels, channels, dtype=torch.float64)
        if noise is None:
            start = torch.linalg.qr(start)[0]
        else:
            start = torch.eye(channels, dtype=torch.float64) + noise * start
        permutation, lower, upper = torch.linalg.lu(start)
        diagonal = upper.diagonal()
        kind = torch.get_default_dtype()
        self.lower = nn.Parameter(lower.tril(-1).to(kind))
        self.upper = nn.Parameter(upper.triu(1).to(kind))
        self.log_s = nn.Parameter(diagonal.abs().log().to(kind))
        self.register_buffer("sign_s", diagonal.sign().to(kind))
        self.register_buffer("permutation", permutation.to(kind))

    def factors(self) -> tuple[Tensor, Tensor]:
        """Return L and U + diag(s), `(C,C)` each."""
        identity = torch.eye(len(self.log_s), dtype=self.lower.dtype, device=self.lower.device)
        upper = self.upper.triu(1) + torch.diag(self.sign_s * torch.exp(self.log_s))
        return self.lower.tril(-1) + identity, upper

    @derived
    def weight(self) -> Tensor:
        """Return W, `(C,C)`."""
        lower, upper = self.factors()
        return self.permutation @ (lower @ upper)

    @derived
    def inverse_weight(self) -> Tensor:
        """Return W⁻¹, `(C,C)`, from two triangular solves in double precision."""
        lower, upper = (factor.double() for factor in self.factors())
        x = torch.linalg.solve_triangular(lower, self.permutation.T.double(), upper=False, unitriangular=True)
        return torch.linalg.solve_triangular(upper, x, upper=True).to(self.lower.dtype)

    def forward(self, x: Tensor, context: Any = None) -> tuple[Tensor, Tensor]:
        """See `Bijection.forward`; `log_det = H W Σ log_s`."""
        with exact(x):
            z = functional.conv2d(x, self.weight()[:, :, None, None])
            return z, (self.log_s.sum() * (x.shape[2] * x.shape[3])).expand(len(x))

    def inverse(self, z: Tensor, context: Any = None) -> Tensor:
        """See `Bijection.inverse`."""
        with exact(z):
            return functional.conv2d(z, self.inverse_weight()[:, :, None, None])
