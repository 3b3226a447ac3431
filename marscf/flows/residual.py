"""The invertible residual block `z = x + g(x)`, g a contraction (i-ResNet, arXiv 1811.00995)."""

import math
from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable

from marscf.errors import EvaluationError
from marscf.flows.bijection import Bijection
from marscf.flows.log_det import ResidualStep, Strategies, WholeJacobian
from marscf.kernels.precision import at_least_float32, exact
from marscf.nets.lipschitz import LipschitzNet

TOLERANCES = {torch.float32: 1e-5, torch.float64: 1e-10}  # of an inverse, in the largest entry
MAX_ITERATIONS = 2000
MIXED = 4  # differences that a point is mixed from
MIXED_ITERATIONS = 200  # after these the plain iteration, which always ends
REGULARISATION = 1e-10


class ResidualBlock(Bijection):
    """`z = x + g(x)`. The context says how its log-determinant is found; without one, by the whole Jacobian.

    `place` is the block's place among the layers of its flow, by which the context tells blocks apart.
    """

    def __init__(self, net: LipschitzNet, place: int = 0):
        super().__init__()
        self.net = net
        self.place = place

    def forward(self, x: Tensor, context: Strategies | None = None) -> tuple[Tensor, Tensor]:
        """See `Bijection.forward`."""
        strategy = WholeJacobian() if context is None else context(x, self.place)
        with exact(x):
            if strategy is None:
                return x + self.net(x), x.new_zeros(len(x))
            z, log_det = ResidualStep.apply(
                self.net, strategy, torch.is_grad_enabled(), at_least_float32(x), *self.net.tensors()
            )
            return z, log_det

    def inverse(self, z: Tensor, context: Any = None) -> Tensor:
        """See `Bijection.inverse`; raises `EvaluationError` where the iteration does not reach 1e-5."""
        with exact(z):
            x: Tensor = _Inverse.apply(self.net, at_least_float32(z), *self.net.tensors())
            return x


class _Inverse(torch.autograd.Function):
    """Fixed point of `x = z - g(x)`; backward solves `w = grad - Jᵀ w` alike (implicit function)."""

    @staticmethod
    def forward(ctx: Any, net: LipschitzNet, z: Tensor, *tensors: Tensor) -> Tensor:
        x = fixed_point(lambda x: z - net.apply_with(x, tensors), z, net.bound)
        ctx.net = net
        ctx.save_for_backward(x, *tensors)
        return x

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor | None, ...]:
        x, *tensors = ctx.saved_tensors
        _, vjp = ctx.net.linearise(x, tensors)
        w = fixed_point(lambda w: grad - vjp(w), grad, ctx.net.bound)
        with torch.enable_grad():
            leaves = [t.detach().requires_grad_() for t in tensors]
            grads = torch.autograd.grad(ctx.net.apply_with(x, leaves), leaves, -w)
        return None, w, *grads


def fixed_point(step: Callable[[Tensor], Tensor], start: Tensor, bound: float) -> Tensor:
    """Iterate the contraction `step` until the error is below TOLERANCES by the contraction's own bound.

    With Lipschitz constant `bound`, the distance of `step(x)` from the fixed point is at most
    `|step(x) - x| bound / (1 - bound)`, wherever x comes from; rounding sets a floor to that move. Each next
    x is mixed from the last ones. Raises `EvaluationError` for values that are not finite or do not settle.
    """
    x, mixing = start, Mixing(start)
    eps, factor = torch.finfo(start.dtype).eps, bound / (1 - bound)
    for iteration in range(MAX_ITERATIONS):
        following = step(x)
        residual = following - x
        move, size = float(residual.abs().max()), float(following.abs().max())
        if not math.isfinite(move + size):
            break
        if factor * move <= TOLERANCES[start.dtype] or move <= 4 * eps * size:
            return following
        x = mixing.next(following, residual) if iteration < MIXED_ITERATIONS else following
    raise EvaluationError(
        f"a residual block's inverse still moves by {move:.2g} after at most {MAX_ITERATIONS} iterations; "
        "lower the temperature, or options.lipschitz and train again"
    )


class Mixing:
    """Anderson acceleration (Walker and Ni, SIAM J. Numer. Anal. 49, 2011), for each image by itself.

    The next point is the combination of the last ones for which the residual, were `step` linear, would be
    least. An image whose residual has grown goes on from its own last point, as without mixing.
    """

    def __init__(self, like: Tensor):
        shape = (len(like), MIXED, like[0].numel())
        self.points, self.residuals = like.new_zeros(shape), like.new_zeros(shape)  # differences of the last
        self.count = 0
        self.last: tuple[Tensor, Tensor] | None = None

    def next(self, following: Tensor, residual: Tensor) -> Tensor:
        """Return the next point `(B,…)` from `step(x)` and `step(x) - x`."""
        point, rest = following.flatten(1), residual.flatten(1)
        last, self.last = self.last, (point, rest)
        if last is None:
            return following
        slot = self.count % MIXED
        self.count += 1
        self.points[:, slot], self.residuals[:, slot] = point - last[0], rest - last[1]
        used = min(self.count, MIXED)
        points, residuals = self.points[:, :used], self.residuals[:, :used]
        products = (residuals @ residuals.mT).double()
        share = REGULARISATION * products.diagonal(dim1=1, dim2=2).mean(1) + torch.finfo(torch.double).tiny
        products.diagonal(dim1=1, dim2=2).add_(share[:, None])
        weights = torch.linalg.solve(products, (residuals @ rest[:, :, None]).double())
        weights[rest.norm(dim=1) > last[1].norm(dim=1)] = 0
        return following - (points.mT @ weights.to(points.dtype)).view_as(following)
