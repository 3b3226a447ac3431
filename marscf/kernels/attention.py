"""Attention with dropout of its weights, in memory that grows with the pixels and not with their square."""

from collections.abc import Iterator
from typing import Any

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable
from torch.nn import functional

from marscf.kernels import kernel
from marscf.kernels.precision import at_least_float32, exact

TOGETHER = 2**18  # weights that are worked on at a time: about what a core's cache holds
LEVELS = 2**16  # steps of the chance to be dropped: 16 random bits per weight


def attention_definition(query: Tensor, key: Tensor, value: Tensor, dropout: float = 0.0) -> Tensor:
    """`dropout(softmax(Q Kᵀ / √d)) V`."""
    weights = torch.softmax(query @ key.transpose(-2, -1) * query.shape[-1] ** -0.5, -1)
    return functional.dropout(weights, dropout) @ value


def _example() -> tuple[Tensor, Tensor, Tensor]:
    query, key, value = torch.randn(3, 2, 2, 12, 4, dtype=torch.float64)
    return query, key, value


@kernel(attention_definition, _example)
def attention(query: Tensor, key: Tensor, value: Tensor, dropout: float = 0.0) -> Tensor:
    """Return `dropout(softmax(Q Kᵀ / √d)) V`; Q, K, V and the result are `(B,heads,length,d)`."""
    # With dropout torch's own function on a CPU keeps all weights and their mask.
    if dropout and query.device.type == "cpu":
        ours = _HashedAttention if torch.compiler.is_compiling() else _DroppedAttention
        result: Tensor = ours.apply(query, key, value, dropout)
        return result
    return functional.scaled_dot_product_attention(query, key, value, dropout_p=dropout)


class _DroppedAttention(torch.autograd.Function):
    """Keeps Q, K, V and a seed; weights and mask are made again in the backward pass."""

    @staticmethod
    def forward(ctx: Any, query: Tensor, key: Tensor, value: Tensor, dropout: float) -> Tensor:
        ctx.threshold = round(dropout * LEVELS)
        ctx.seed = int(torch.empty((), dtype=torch.int64).random_())
        ctx.save_for_backward(query, key, value)
        generator = torch.Generator().manual_seed(ctx.seed)
        result = torch.empty_like(value, memory_format=torch.contiguous_format)
        with exact(query):  # in the precision they come in: autocast would cast at every product
            for q, k, v, out in _parts(query, key, value, result):
                weights = _weights(q, k)
                weights.mul_(_kept(weights, ctx.threshold, generator))
                torch.matmul(weights, v, out=out)
        return result.mul_(LEVELS / (LEVELS - ctx.threshold))

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor | None, ...]:
        tensors = ctx.saved_tensors
        grad = grad * (LEVELS / (LEVELS - ctx.threshold))
        generator = torch.Generator().manual_seed(ctx.seed)
        results = [torch.empty_like(t, memory_format=torch.contiguous_format) for t in tensors]
        for q, k, v, g, g_query, g_key, g_value in _parts(*tensors, grad, *results):
            weights = _weights(q, k)
            kept = _kept(weights, ctx.threshold, generator)
            torch.matmul((weights * kept).transpose(1, 2), g, out=g_value)
            g_weights = torch.matmul(g, v.transpose(1, 2)).mul_(kept)
            g_scores = torch._softmax_backward_data(g_weights, weights, -1, weights.dtype)
            g_scores.mul_(q.shape[-1] ** -0.5)
            torch.matmul(g_scores, k, out=g_query)
            torch.matmul(g_scores.transpose(1, 2), q, out=g_key)
        return *results, None


def _parts(*tensors: Tensor) -> Iterator[tuple[Tensor, ...]]:
    """Split tensors `(B,heads,length,·)` into parts `(n,length,·)`."""
    size = max(1, TOGETHER // tensors[0].shape[2] ** 2)
    return zip(*(t.flatten(0, 1).split(size) for t in tensors), strict=True)


def _weights(query: Tensor, key: Tensor) -> Tensor:
    return torch.softmax(_scores(query, key), -1)


def _scores(query: Tensor, key: Tensor) -> Tensor:
    return torch.matmul(query * query.shape[-1] ** -0.5, key.transpose(-2, -1))


def _kept(like: Tensor, threshold: int, generator: torch.Generator) -> Tensor:
    """Return 1 where a weight is kept, else 0, from 16 random bits each; one draw has four times 16.

    The result overwrites the bits: booleans, and what uses them, take several times as long on a CPU.
    """
    draws = torch.empty(-(-like.numel() // 4), dtype=torch.int64)
    bits = draws.random_(-(2**63), None, generator=generator).view(torch.int16)[: like.numel()]
    return bits.ge_(threshold - LEVELS // 2).to(like.dtype).view(like.shape)


class _HashedAttention(torch.autograd.Function):
    """The same for torch.compile: a weight's random bits are a hash of its place and a seed.

    Compiled code makes the mask where it is used; random numbers of a generator take ten times as long. It
    keeps the result and the log-sum-exp too, so that the backward pass goes through the weights once.
    """

    @staticmethod
    def forward(ctx: Any, query: Tensor, key: Tensor, value: Tensor, dropout: float) -> Tensor:
        ctx.threshold = round(dropout * LEVELS)
        seed = torch.randint(-(2**31), 2**31, (2,), dtype=torch.int32, device=query.device)
        scores = at_least_float32(_scores(query, key))
        largest = scores.amax(-1, keepdim=True)
        weights = torch.exp(scores - largest)
        total = weights.sum(-1, keepdim=True)
        kept = torch.where(_hashed(seed, weights.shape, ctx.threshold), weights, 0)
        result = torch.matmul(kept.to(value.dtype), value)
        result = (result * (LEVELS / (LEVELS - ctx.threshold) / total)).to(value.dtype)
        ctx.save_for_backward(query, key, value, seed, result, largest + torch.log(total))
        return result

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor | None, ...]:
        query, key, value, seed, result, log_total = ctx.saved_tensors
        along = (at_least_float32(grad) * result).sum(-1, keepdim=True)
        grad = grad * (LEVELS / (LEVELS - ctx.threshold))
        weights = torch.exp(at_least_float32(_scores(query, key)) - log_total)
        kept = _hashed(seed, weights.shape, ctx.threshold)
        g_value = torch.matmul(torch.where(kept, weights, 0).to(grad.dtype).transpose(-2, -1), grad)
        g_weights = torch.where(kept, torch.matmul(grad, value.transpose(-2, -1)), 0)
        g_scores = (weights * (g_weights - along) * query.shape[-1] ** -0.5).to(query.dtype)
        return torch.matmul(g_scores, key), torch.matmul(g_scores.transpose(-2, -1), query), g_value, None


def _hashed(seed: Tensor, shape: torch.Size, threshold: int) -> Tensor:
    """Return whether a weight is kept, by 16 bits of a hash of its place and two words of a seed.

    Multiplications and shifts as in MurmurHash3's finaliser; a CPU has vectors of 32-bit integers.
    """
    bits = torch.arange(shape.numel(), dtype=torch.int32, device=seed.device).view(shape)
    bits = (bits ^ seed[0]) * -0x7A143595
    bits = ((bits ^ (bits >> 15)) + seed[1]) * -0x3D4D51CB
    bits = (bits ^ (bits >> 13)) * -0x61C88647
    return bits >> 16 >= threshold - LEVELS // 2
