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

    With Lipschitz constant `bound`, an iterate's distance from the fixed point is at most its last move times
    `bound / (1 - bound)`; rounding sets a floor to that move. Raises `EvaluationError` for values that are
    not finite or do not settle.
    """
    x = start
    eps, factor = torch.finfo(start.dtype).eps, bound / (1 - bound)
    for _ in range(MAX_ITERATIONS):
        following = step(x)
        move, size = float((following - x).abs().max()), float(following.abs().max())
        x = following
        if not math.isfinite(move + size):
            break
        if factor * move <= TOLERANCES[start.dtype] or move <= 4 * eps * size:
            return x
    raise EvaluationError(
        f"a residual block's inverse still moves by {move:.2g} after at most {MAX_ITERATIONS} iterations; "
        "lower the temperature, or options.lipschitz and train again"
    )
