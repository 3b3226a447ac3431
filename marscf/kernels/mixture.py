"""Mixtures of logistics: log F, log S, log f, and the root of `log F(x) - log S(x) = y`.

F is the CDF, `S = 1 - F` and `f = F'`. `x (B,*)`; logits, means and log-scales are `(B,K,*)`, with the K
components on the second axis. All results have the shape of `x`.
"""

import functools
from collections.abc import Callable
from typing import Any, NamedTuple

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable
from torch.nn import functional

from marscf.kernels import kernel

MAX_ITERATIONS = 100
FEW = 0.5  # share of the elements: where no more are left, the iteration goes on with them alone

Terms = tuple[Tensor, Tensor, Tensor]

# ---- log F, log S, log f


def log_terms_definition(x: Tensor, logits: Tensor, means: Tensor, log_scales: Tensor) -> Terms:
    """`F = Σ_k π_k σ(z_k)`, `S = Σ_k π_k σ(-z_k)`, `f = Σ_k π_k σ(z_k) σ(-z_k) / scale_k`."""
    z = (x.unsqueeze(1) - means) * torch.exp(-log_scales)
    log_weights = functional.log_softmax(logits, 1)
    below, above = functional.logsigmoid(z), functional.logsigmoid(-z)
    return (
        torch.logsumexp(log_weights + below, 1),
        torch.logsumexp(log_weights + above, 1),
        torch.logsumexp(log_weights + below + above - log_scales, 1),
    )


def _example() -> tuple[Tensor, Tensor, Tensor, Tensor]:
    x = 2 * torch.randn(2, 3, 2, 2, dtype=torch.float64)
    logits, means, log_scales = torch.randn(3, 2, 5, 3, 2, 2, dtype=torch.float64)
    return x, logits, 2 * means, log_scales - 1


@kernel(log_terms_definition, _example)
def log_terms(x: Tensor, logits: Tensor, means: Tensor, log_scales: Tensor) -> Terms:
    """Return `log F(x)`, `log S(x)` and `log f(x)`, in nats."""
    terms: Terms = _LogTerms.apply(x, logits, means, log_scales)
    return terms


class _LogTerms(torch.autograd.Function):
    """All three from one softplus; the K-fold terms are computed again in the backward pass."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, logits: Tensor, means: Tensor, log_scales: Tensor) -> Terms:
        log_cdf, log_survival, log_pdf = (torch.logsumexp(t, 1) for t in _terms(x, logits, means, log_scales))
        ctx.save_for_backward(x, logits, means, log_scales, log_cdf, log_survival, log_pdf)
        return log_cdf, log_survival, log_pdf

    @staticmethod
    @once_differentiable
    def backward(
        ctx: Any, g_cdf: Tensor, g_survival: Tensor, g_pdf: Tensor
    ) -> tuple[Tensor, Tensor, Tensor, Tensor]:
        x, logits, means, log_scales, *results = ctx.saved_tensors
        inverse_scale = torch.exp(-log_scales)
        z = (x.unsqueeze(1) - means) * inverse_scale
        terms = _terms(x, logits, means, log_scales)
        # Responsibilities of the components for each sum, times the gradient that reaches it.
        a, b, c = (
            g.unsqueeze(1) * torch.exp(t - r.unsqueeze(1))
            for g, t, r in zip((g_cdf, g_survival, g_pdf), terms, results, strict=True)
        )
        s = torch.sigmoid(z)
        g_z = a * (1 - s) - b * s + c * (1 - 2 * s)
        g_logits = a + b + c
        g_logits = g_logits - functional.softmax(logits, 1) * g_logits.sum(1, keepdim=True)
        g_means = -g_z * inverse_scale
        return -g_means.sum(1), g_logits, g_means, -z * g_z - c


def _terms(x: Tensor, logits: Tensor, means: Tensor, log_scales: Tensor) -> Terms:
    """Per component: log of π σ(z), of π σ(-z) and of π σ(z) σ(-z) / scale, each `(B,K,*)`."""
    z = (x.unsqueeze(1) - means) * torch.exp(-log_scales)
    softplus = functional.softplus(z, threshold=80)  # the default, 20, loses exp(-20) in float64
    log_weights = functional.log_softmax(logits, 1)
    # The difference first: far right it is exactly 0, and no weight is lost beside a huge z.
    below = z - softplus
    cdf, survival = log_weights + below, log_weights - softplus
    return cdf, survival, cdf - softplus - log_scales


# ---- the root


def root_definition(y: Tensor, logits: Tensor, means: Tensor, log_scales: Tensor) -> Tensor:
    """Bisection, until no element moves."""
    quantiles = _quantiles(y, means, log_scales)
    low, high = quantiles.amin(1), quantiles.amax(1)
    x = (low + high) / 2
    for _ in range(MAX_ITERATIONS):
        log_cdf, log_survival, _ = log_terms_definition(x, logits, means, log_scales)
        above = log_cdf - log_survival > y
        low, high = torch.where(above, low, x), torch.where(above, x, high)
        before, x = x, (low + high) / 2
        if torch.equal(x, before):
            break
    return x


@kernel(torch.no_grad()(root_definition), _example)
@torch.no_grad()
def root(y: Tensor, logits: Tensor, means: Tensor, log_scales: Tensor) -> Tensor:
    """Return `x` with `log F(x) - log S(x) = y`, by Newton's iteration; without gradients."""
    newton = (_gpu_newton() if y.is_cuda else None) or _newton
    return newton(y, functional.softmax(logits, 1), means, log_scales, MAX_ITERATIONS)


@functools.cache
def _gpu_newton() -> Callable[[Tensor, Tensor, Tensor, Tensor, int], Tensor] | None:
    """The same steps as one GPU kernel; None without Triton, which comes with torch for Linux."""
    try:
        from marscf.kernels.mixture_triton import newton
    except ImportError:
        return None
    return newton


def _quantiles(y: Tensor, means: Tensor, log_scales: Tensor) -> Tensor:
    """Each component's own root, `mean_k + scale_k y`: that of the mixture lies between the outermost two."""
    return torch.addcmul(means, torch.exp(log_scales), y.unsqueeze(1))


class _Search(NamedTuple):
    """An iteration's state, elementwise `(N,)` or `(B,*)`, and what it searches in, `(·,K,·)`."""

    y: Tensor
    x: Tensor
    low: Tensor
    high: Tensor
    step: Tensor
    before: Tensor  # the step before
    done: Tensor
    weights: Tensor
    means: Tensor
    inverse_scales: Tensor


def _newton(y: Tensor, weights: Tensor, means: Tensor, log_scales: Tensor, max_iterations: int) -> Tensor:
    """Newton's iteration within a shrinking bracket, for all elements until few are left, then for those."""
    search = _start(y, weights, means, log_scales)
    # To read a flag waits for the device: ask a GPU now and then, and never while it records.
    ask_every = 1 if y.device.type == "cpu" else 8
    if y.is_cuda and torch.cuda.is_current_stream_capturing():
        ask_every = max_iterations + 1
    result, places = search.x, None  # of all elements; where those still searched belong in it
    for iteration in range(1, max_iterations + 1):
        search = _advance(search)
        if iteration % ask_every:
            continue
        left = search.done.numel() - int(search.done.sum())
        if left == 0:
            break
        if left <= FEW * search.done.numel():
            going = ~search.done
            result = _put(result, places, search.x)
            chosen = going.flatten().nonzero().squeeze(1)
            places = chosen if places is None else places[chosen]
            search = _Search(
                *(t[going] for t in search[:-3]), *(t.movedim(1, -1)[going] for t in search[-3:])
            )
    return _put(result, places, search.x)


def _put(result: Tensor, places: Tensor | None, x: Tensor) -> Tensor:
    """Put the elements `x` in their places of the result."""
    return x if places is None else result.flatten().index_copy(0, places, x).view(result.shape)


def _start(y: Tensor, weights: Tensor, means: Tensor, log_scales: Tensor) -> _Search:
    quantiles, inverse_scales = _quantiles(y, means, log_scales), torch.exp(-log_scales)
    low, high = quantiles.amin(1), quantiles.amax(1)
    # Narrow components are dense: of the components' quantiles theirs count most.
    density = weights * inverse_scales
    x = (density * quantiles).sum(1) / density.sum(1)
    x = torch.where((x >= low) & (x <= high), x, (low + high) / 2)  # NaN, where a scale under- or overflows
    done = torch.zeros_like(x, dtype=torch.bool)
    return _Search(y, x, low, high, high - low, high - low, done, weights, means, inverse_scales)


def _advance(search: _Search) -> _Search:
    """One step of Newton where it stays in the bracket and the steps get shorter, of bisection elsewhere."""
    y, x, low, high, step, before, done, *mixture = search
    eps = torch.finfo(y.dtype).eps
    value, slope = _value_and_slope(x, *mixture)
    residual = value - y
    high = torch.where(residual > 0, x, high)
    low = torch.where(residual > 0, low, x)
    move = residual / slope
    # A residual at rounding level ends it: bisecting would throw a converged element away. The step, in
    # its place, would have to be compared with what overflows where the slope is nearly 0.
    settled = residual.abs() < 4 * eps * (x.abs() * slope + 4 + y.abs())
    newton = x - move
    # Halving the step before last rules out cycles; comparisons with NaN fail, and so bisect.
    take = (newton >= low) & (newton <= high) & (2 * move.abs() <= before.abs())
    inside = torch.minimum(torch.maximum(newton, low), high)
    new = torch.where(take | settled, inside, (low + high) / 2)
    # What is done stays: rounding could have it bisected away while others go on.
    new = torch.where(done, x, new)
    done = done | settled | (high - low <= 2 * eps * new.abs())
    return _Search(y, new, low, high, new - x, step, done, *mixture)


def _value_and_slope(
    x: Tensor, weights: Tensor, means: Tensor, inverse_scales: Tensor
) -> tuple[Tensor, Tensor]:
    """`log F - log S` and its slope, one exponential per component, in sums that keep the tails' digits."""
    z = (x.unsqueeze(1) - means) * inverse_scales
    lowest, highest = z.amin(1), z.amax(1)
    # Beyond all the means one side is a sum of tiny terms: exp(-shift) is taken out of it.
    shift = torch.maximum(lowest, -highest).clamp(min=0)
    distance = z.abs()
    tiny = torch.exp(shift.unsqueeze(1) - distance)  # exp(-|z|) exp(shift)
    larger = torch.reciprocal(1 + tiny * torch.exp(-shift).unsqueeze(1))  # σ(|z|)
    share = weights * larger
    small = tiny * share  # π σ(-|z|) exp(shift)
    right = z > 0
    cdf = torch.where(right, share, small).sum(1)
    survival = torch.where(right, small, share).sum(1)
    density = (small * larger * inverse_scales).sum(1)  # f exp(shift)
    value = torch.log(cdf) - torch.log(survival) + torch.where(lowest > 0, shift, -shift)
    return value, density / (cdf * survival)
