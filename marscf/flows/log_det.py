"""The log-determinant of `x + g(x)` for a contraction g, and its gradient, in little memory.

`log |det(I + J)| = Σ_k (-1)^(k+1)/k tr(J^k)`. The traces are Hutchinson's `vᵀ J^k v`. The series ends at
random (Russian roulette), and each later term is divided by the chance of reaching it, so it is unbiased. Its
gradient is `vᵀ (Σ_k (-1)^k J^k) ∂J v`, the Neumann series under the same roulette (Chen et al., arXiv
1906.02735, Eqs. 6 and 8).

Both strategies below return the value and vectors a_i, b_i with `∂ log_det = Σ_i a_iᵀ ∂J b_i`.
"""

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, NamedTuple, Protocol

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable

from marscf.nets.lipschitz import LipschitzNet

Product = Callable[[Tensor], Tensor]


class Jacobian(NamedTuple):
    """J, the Jacobian of g at some images.

    Attributes:
        vjp: w -> Jᵀ w.
        reach: how many pixels away the inputs are that an output depends on; None where it is on all.
        vectors: whether a and b are wanted.
    """

    vjp: Product
    reach: int | None = None
    vectors: bool = True


class Tail(Protocol):
    """The law of how many terms a series has beyond its exact ones."""

    def chance(self, terms: int) -> float:
        """Return the chance of at least so many."""

    def lengths(self, uniform: Tensor) -> Tensor:
        """Return lengths of this law, int64, from float64 numbers that are uniform in (0,1)."""


@dataclass(frozen=True)
class Geometric:
    """One term, and after each the chance `stop` of ending."""

    stop: float

    def chance(self, terms: int) -> float:
        """See `Tail.chance`."""
        return (1 - self.stop) ** max(terms - 1, 0)

    def lengths(self, uniform: Tensor) -> Tensor:
        """See `Tail.lengths`."""
        return 1 + torch.floor(uniform.log() / math.log(1 - self.stop)).long()


@dataclass(frozen=True)
class Poisson:
    """Poisson with mean `rate`; a series may end with its exact terms."""

    rate: float

    def chance(self, terms: int) -> float:
        """See `Tail.chance`."""
        below = sum(self.rate**n / math.factorial(n) for n in range(terms))
        return 1 - math.exp(-self.rate) * below

    def lengths(self, uniform: Tensor) -> Tensor:
        """See `Tail.lengths`; a length above 30 has the chance 1e-24 at rate 2."""
        at_most = [1 - self.chance(terms) for terms in range(1, 31)]
        return torch.bucketize(uniform, uniform.new_tensor(at_most))


@dataclass
class Roulette:
    """The unbiased estimate.

    Attributes:
        probes: v, of unit variance, `(M,B,C,H,W)`; the estimates are averaged over M.
        tails: terms beyond the exact ones, `(M,B)` or `(M,1)`.
        exact_terms: terms that are never dropped.
        law: that `tails` was drawn from.
    """

    probes: Tensor
    tails: Tensor
    exact_terms: int
    law: Tail

    def __call__(self, jacobian: Jacobian, x: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Return the estimate `(B,)` and a, b `(M,B,C,H,W)`, given J at `x`."""
        value = x.new_zeros(len(x))
        directions = []
        for v, tails in zip(self.probes, self.tails, strict=True):
            w = direction = v
            for k in range(1, self.exact_terms + int(tails.max()) + 1):
                w = jacobian.vjp(w)
                beyond = max(k - self.exact_terms, 0)
                weight = (tails >= beyond).to(x.dtype) / self.law.chance(beyond)
                value = value - (-1) ** k / k * weight * (w * v).flatten(1).sum(1)
                direction = direction + (-1) ** k * weight[:, None, None, None] * w
            directions.append(direction)
        share = 1 / len(self.probes)
        return share * value, share * torch.stack(directions), self.probes


class WholeJacobian:
    """Exact: the determinant of I + J itself, which takes memory and time of D² and D³ per image.

    The matrix is factorised in double precision.
    """

    def __call__(self, jacobian: Jacobian, x: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Return the log-determinant `(B,)` and a, b `(D,B,C,H,W)`, given J at `x`; empty if not wanted."""
        dims = x[0].numel()
        matrix = whole(jacobian, x).double()
        matrix.diagonal(dim1=1, dim2=2).add_(1)
        value = torch.linalg.slogdet(matrix).logabsdet.to(x.dtype)
        if not jacobian.vectors:
            return value, x.new_empty(0), x.new_empty(0)
        basis = torch.eye(dims, dtype=x.dtype, device=x.device).view(dims, 1, *x.shape[1:])
        basis = basis.expand(dims, *x.shape)
        inverse = torch.linalg.inv(matrix).to(x.dtype)
        return value, inverse.transpose(0, 1).reshape(basis.shape), basis


def whole(jacobian: Jacobian, x: Tensor) -> Tensor:
    """Return J at `x (B,C,H,W)` as matrices `(B,D,D)`, outputs by inputs.

    Outputs that are `2 reach + 1` pixels apart depend on no input in common: one product gives the rows of
    all of them.
    """
    reach = jacobian.reach
    batch, channels, height, width = x.shape
    apart = max(height, width) if reach is None else min(2 * reach + 1, max(height, width))
    rows, columns = (torch.arange(side, device=x.device) for side in (height, width))
    found = x.new_zeros(batch, channels, height * width, channels, height * width)
    pixels = torch.arange(height * width, device=x.device)
    for top in range(min(apart, height)):
        for left in range(min(apart, width)):
            # each input pixel belongs to the nearest of the outputs in the product
            row, column = _nearest(rows, top, apart), _nearest(columns, left, apart)
            for channel in range(channels):
                probe = torch.zeros_like(x)
                probe[:, channel, top::apart, left::apart] = 1
                product = jacobian.vjp(probe).flatten(2)
                output = (row[:, None] * width + column).flatten()
                found[:, channel, output, :, pixels] = product.permute(2, 0, 1)
    return found.view(batch, channels * height * width, channels * height * width)


def _nearest(places: Tensor, first: int, apart: int) -> Tensor:
    """Of `first`, `first + apart`, … among the places, the nearest to each place."""
    last = (len(places) - 1 - first) // apart
    steps = torch.div(places - first + apart // 2, apart, rounding_mode="floor")
    return first + apart * steps.clamp(0, last)


#: How a flow's residual blocks find their log-determinants: the strategy for the block at a place among the
#: layers, given its input; None where no log-determinant is wanted, and 0 stands in its place.
Strategies = Callable[[Tensor, int], Roulette | WholeJacobian | None]


class ResidualStep(torch.autograd.Function):
    """`(net, strategy, differentiated, x, *tensors) -> (x + g(x), log_det)`.

    The backward pass computes the activations of g again.
    """

    @staticmethod
    def forward(
        ctx: Any,
        net: LipschitzNet,
        strategy: Roulette | WholeJacobian,
        differentiated: bool,
        x: Tensor,
        *tensors: Tensor,
    ) -> tuple[Tensor, Tensor]:
        """Estimate without a graph."""
        g, vjp = net.linearise(x, tensors)
        log_det, a, b = strategy(Jacobian(vjp, net.reach, differentiated), x)
        ctx.net = net
        ctx.save_for_backward(x, a, b, *tensors)
        return x + g, log_det

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, grad_z: Tensor, grad_log_det: Tensor) -> tuple[Tensor | None, ...]:
        """Differentiate `z·grad_z + Σ_i a_iᵀ J b_i · grad_log_det` with a and b held."""
        x, a, b, *tensors = ctx.saved_tensors
        with torch.enable_grad():
            leaves = [t.detach().requires_grad_() for t in (x, *tensors)]
            g, products = ctx.net.with_tangents(leaves[0], b, leaves[1:])
            total = (g * grad_z).sum() + (products * a * grad_log_det[:, None, None, None]).sum()
            grad_x, *grads = torch.autograd.grad(total, leaves)
        return None, None, None, grad_z + grad_x, *grads
