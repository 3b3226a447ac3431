"""Mixtures of logistics: the numerics of Flow++'s coupling (Ho et al., arXiv 1902.00275).

With `z_k = (x - mean_k) exp(-log_scale_k)` the CDF is `F(x) = Σ_k π_k σ(z_k)`, the survival function
`S = 1 - F` and the density `f = F'`. Each logarithm is its own log-sum-exp, so that both tails keep their
digits: `-log(1/F - 1)` is 21 nats wrong in float32 at log-odds 15.5, `log F - log S` is not.

Shapes: `x (B,C,H,W)`, in general `(B,*)`; `logits`, `means`, `log_scales` have the K components as
second axis, `(B,K,C,H,W)`. All results have the shape of `x`.
"""

import functools
from collections.abc import Callable

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable
from torch.nn import functional

from marscf.nets.precision import at_least_float32, exact

FEW = 0.5  # of the elements, from which on the iteration leaves out those that are done


class _LogTerms(torch.autograd.Function):
    """log F, log S, log f from one softplus; the K-fold terms are computed again in the backward pass."""

    @staticmethod
    def forward(ctx, x, logits, means, log_scales):
        log_cdf, log_survival, log_pdf = _terms(x, logits, means, log_scales)
        results = tuple(torch.logsumexp(t, 1) for t in (log_cdf, log_survival, log_pdf))
        ctx.save_for_backward(x, logits, means, log_scales, *results)
        return results

    @staticmethod
    @once_differentiable
    def backward(ctx, g_cdf, g_survival, g_pdf):
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


def _terms(x: Tensor, logits: Tensor, means: Tensor, log_scales: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """Per component: log of π σ(z), of π σ(-z) and of π σ(z) σ(-z) / scale, each `(B,K,*)`."""
    z = (x.unsqueeze(1) - means) * torch.exp(-log_scales)
    softplus = functional.softplus(z, threshold=80)  # the default, 20, loses exp(-20) in float64
    log_weights = functional.log_softmax(logits, 1)
    # The difference first: far right it is exactly 0, and no weight is lost beside a huge z.
    below = z - softplus
    cdf, survival = log_weights + below, log_weights - softplus
    return cdf, survival, cdf - softplus - log_scales


def log_terms(x: Tensor, logits: Tensor, means: Tensor, log_scales: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """Return `log F(x)`, `log (1 - F(x))` and `log f(x)`, in nats, at least in float32."""
    with exact(x):
        return _LogTerms.apply(*map(at_least_float32, (x, logits, means, log_scales)))


def log_odds(x: Tensor, logits: Tensor, means: Tensor, log_scales: Tensor) -> tuple[Tensor, Tensor]:
    """Return `G(x) = log F - log S`, the logistic quantile of the mixture's CDF, and `log G'(x)`.

    `G' = f/F + f/S = f/(F S)`.
    """
    log_cdf, log_survival, log_pdf = log_terms(x, logits, means, log_scales)
    return log_cdf - log_survival, log_pdf - log_cdf - log_survival


def inverse_log_odds(
    y: Tensor, logits: Tensor, means: Tensor, log_scales: Tensor, max_iterations: int = 100
) -> Tensor:
    """Return `x` with `log_odds(x) = y`, differentiable in `y` and in the parameters.

    Newton's iteration within a shrinking bracket. `[min_k, max_k](mean_k + scale_k y)` holds the root
    exactly, since every component's quantile of `y` does. The gradient is the implicit function's.
    """
    with exact(y):
        y, logits, means, log_scales = map(at_least_float32, (y, logits, means, log_scales))
        with torch.no_grad():
            x = _newton(y, functional.softmax(logits, 1), means, log_scales, max_iterations)
        if torch.is_grad_enabled() and any(t.requires_grad for t in (y, logits, means, log_scales)):
            residual, log_slope = log_odds(x, logits, means, log_scales)
            x = x - (residual - y) * torch.exp(-log_slope).detach()
        return x


@functools.cache
def _kernel() -> Callable[..., Tensor] | None:
    """The GPU's own, or None where Triton, which comes with torch for Linux, is not there."""
    try:
        from marscf.gpu.inverse_cdf import newton
    except ImportError:
        return None
    return newton


def _newton(y: Tensor, weights: Tensor, means: Tensor, log_scales: Tensor, max_iterations: int) -> Tensor:
    if y.is_cuda and (kernel := _kernel()) is not None:
        return kernel(y, weights, means, log_scales, max_iterations)
    scales, inverse_scales = torch.exp(log_scales), torch.exp(-log_scales)
    quantiles = torch.addcmul(means, scales, y.unsqueeze(1))
    low, high = quantiles.amin(1), quantiles.amax(1)
    # Narrow components are dense: of the components' quantiles theirs count most.
    density = weights * inverse_scales
    x = (density * quantiles).sum(1) / density.sum(1)
    x = torch.where((x >= low) & (x <= high), x, (low + high) / 2)  # NaN, where a scale under- or overflows
    del quantiles, scales, density
    eps = torch.finfo(y.dtype).eps
    step = before = high - low
    # Reading a flag waits for the device: a GPU is asked now and then, and never while it records.
    ask_every = 1 if y.device.type == "cpu" else 8
    recording = y.is_cuda and torch.cuda.is_current_stream_capturing()
    result, places = x, None  # of all elements; where those still worked on belong
    done = torch.zeros_like(x, dtype=torch.bool)
    for iteration in range(1, max_iterations + 1):
        value, slope = _value_and_slope(x, weights, means, inverse_scales)
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
        middle = (low + high) / 2
        new = torch.where(take | settled, torch.minimum(torch.maximum(newton, low), high), middle)
        # What is done stays: rounding could have it bisected away while others go on.
        new = torch.where(done, x, new)
        before, step, x = step, new - x, new
        done = done | settled | (high - low <= 2 * eps * x.abs())
        if recording or iteration % ask_every:
            continue
        left = done.numel() - int(done.sum())
        if left == 0:
            break
        if left <= FEW * done.numel():  # most are done after a few iterations: go on with the others
            going = ~done
            result, places = _keep(result, places, x), _narrowed(places, going)
            y, x, low, high, step, before, done = (t[going] for t in (y, x, low, high, step, before, done))
            weights, means, inverse_scales = (
                t.movedim(1, -1)[going] for t in (weights, means, inverse_scales)
            )
    return _keep(result, places, x)


def _narrowed(places: Tensor | None, going: Tensor) -> Tensor:
    """Where in the flattened result the elements belong that are still going."""
    chosen = going.flatten().nonzero().squeeze(1)
    return chosen if places is None else places[chosen]


def _keep(result: Tensor, places: Tensor | None, x: Tensor) -> Tensor:
    """Put the elements worked on into the result; all of it, where there are no places."""
    return x if places is None else result.flatten().index_copy(0, places, x).view(result.shape)


def _value_and_slope(
    x: Tensor, weights: Tensor, means: Tensor, inverse_scales: Tensor
) -> tuple[Tensor, Tensor]:
    """`G(x)` and `G'(x)` with one exponential a component, in sums that do not underflow in the tails."""
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
