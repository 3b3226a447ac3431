"""The log-probability of discrete images under a softmax over the grey levels of each sub-pixel."""

from typing import Any

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable
from torch.nn import functional

from marscf.kernels import kernel
from marscf.kernels.precision import at_least_float32

ROWS = 256  # pixels at once: their logits stay in the processor's cache


def categorical_definition(h: Tensor, weight: Tensor, bias: Tensor, x: Tensor) -> Tensor:
    """`Σ log softmax(weight h + bias)` at the grey levels of x."""
    logits = functional.conv2d(h, weight[:, :, None, None], bias)
    logits = at_least_float32(logits).unflatten(1, (x.shape[1], -1)).movedim(2, -1)
    return logits.log_softmax(-1).gather(-1, x.long()[..., None]).flatten(1).sum(1)


def _example() -> tuple[Tensor, ...]:
    x = torch.randint(0, 7, (2, 3, 4, 5)).double()
    h, weight = torch.randn(2, 6, 4, 5, dtype=torch.float64), torch.randn(21, 6, dtype=torch.float64)
    return h, weight, torch.randn(21, dtype=torch.float64), x


@kernel(categorical_definition, _example)
def categorical(h: Tensor, weight: Tensor, bias: Tensor, x: Tensor) -> Tensor:
    """Return the log-probabilities `(B,)`, nats, of images `x (B,C,H,W)` with whole numbers.

    The logits of a pixel are `weight h + bias`: `h (B,F,H,W)`, `weight (C·levels,F)`, `bias (C·levels,)`, all
    levels of the first colour first.
    """
    if h.device.type != "cpu" or torch.compiler.is_compiling():
        return categorical_definition(h, weight, bias, x)
    result: Tensor = _Categorical.apply(h, weight, bias, x)
    return result


class _Categorical(torch.autograd.Function):
    """Some pixels after the other; the backward pass computes the logits again.

    All logits at once are by far the model's largest array, and each pass over it waits for the memory.
    """

    @staticmethod
    def forward(ctx: Any, h: Tensor, weight: Tensor, bias: Tensor, x: Tensor) -> Tensor:
        weight, bias = weight.to(h.dtype), bias.to(h.dtype)  # where autocast made h coarser
        rows = h.movedim(1, -1).flatten(0, -2)
        target = x.movedim(1, -1).flatten(0, -2).long()
        parts, normalisers = [], []
        for own, levels in zip(rows.split(ROWS), target.split(ROWS), strict=True):
            logits = _logits(own, weight, bias, x.shape[1])
            normalisers.append(logits.logsumexp(-1))
            parts.append(logits.gather(-1, levels[..., None])[..., 0] - normalisers[-1])
        ctx.save_for_backward(rows, weight, bias, target, torch.cat(normalisers))
        ctx.shape = h.shape
        return torch.cat(parts).view(len(x), -1).sum(1)

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor | None, ...]:
        rows, weight, bias, target, normaliser = ctx.saved_tensors
        count, _, height, width = ctx.shape
        factor = grad.repeat_interleave(height * width)[:, None, None]
        grad_rows, grad_weight = torch.empty_like(rows), torch.zeros_like(weight, dtype=grad.dtype)
        grad_bias = torch.zeros_like(bias, dtype=grad.dtype)
        for start in range(0, len(rows), ROWS):
            part = slice(start, start + ROWS)
            p = _logits(rows[part], weight, bias, target.shape[1])
            # The slope of log softmax: 1 at the level that is there, less the probability of each.
            p.sub_(normaliser[part, :, None]).exp_().mul_(-factor[part])
            p.scatter_add_(-1, target[part, :, None], factor[part].expand(-1, target.shape[1], 1))
            slopes = p.flatten(1)
            grad_bias += slopes.sum(0)
            slopes = slopes.to(rows.dtype)
            torch.mm(slopes, weight, out=grad_rows[part])
            grad_weight += slopes.T @ rows[part]
        return grad_rows.view(count, height, width, -1).movedim(-1, 1), grad_weight, grad_bias, None


def _logits(rows: Tensor, weight: Tensor, bias: Tensor, colours: int) -> Tensor:
    """Logits `(rows,C,levels)` of some pixels, in float32 at least."""
    return at_least_float32(torch.addmm(bias, rows, weight.T)).unflatten(1, (colours, -1))
