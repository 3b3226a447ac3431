"""The inverse of a mixture's CDF as one GPU kernel: parameters are read once, nothing waits for the host."""

import torch
import triton
from torch import Tensor
from triton import language as tl

ELEMENTS = 32  # of a program; with K components each


def newton(y: Tensor, weights: Tensor, means: Tensor, log_scales: Tensor, max_iterations: int) -> Tensor:
    """Return the roots `(B,*)`: `marscf.kernels.mixture` says of what, and has the same steps for a CPU.

    `weights`, `means`, `log_scales` are `(B,K,*)`, the weights sum to 1 over K.
    """
    y, weights, means, log_scales = (t.contiguous() for t in (y, weights, means, log_scales))
    x = torch.empty_like(y)
    components = weights.shape[1]
    _kernel[(-(-y.numel() // ELEMENTS),)](
        y,
        weights,
        means,
        log_scales,
        x,
        y.numel(),
        y[0].numel(),
        components,
        max_iterations,
        torch.finfo(y.dtype).eps,
        ELEMENTS=ELEMENTS,
        K=1 << (components - 1).bit_length(),
        num_warps=1,
    )
    return x


@triton.jit  # type: ignore[untyped-decorator]  # Triton's language has types of its own
def _kernel(  # type: ignore[no-untyped-def]  # as above
    y_at,
    weights_at,
    means_at,
    log_scales_at,
    x_at,
    count,
    pixels,
    components,
    iterations,
    eps,
    ELEMENTS: tl.constexpr,
    K: tl.constexpr,
):
    n = tl.program_id(0).to(tl.int64) * ELEMENTS + tl.arange(0, ELEMENTS)
    inside = n < count
    n = tl.minimum(n, count - 1)
    # Beyond the components the last one again, with weight 0.
    k = tl.minimum(tl.arange(0, K), components - 1)
    at = ((n // pixels) * components * pixels + n % pixels)[:, None] + (k * pixels)[None, :]
    y = tl.load(y_at + n)
    weights = tl.where((tl.arange(0, K) < components)[None, :], tl.load(weights_at + at), 0.0)
    means = tl.load(means_at + at)
    log_scales = tl.load(log_scales_at + at)
    inverse_scales = tl.exp(-log_scales)
    quantiles = means + tl.exp(log_scales) * y[:, None]
    low, high = tl.min(quantiles, 1), tl.max(quantiles, 1)
    density = weights * inverse_scales
    x = tl.sum(density * quantiles, 1) / tl.sum(density, 1)
    x = tl.where((x >= low) & (x <= high), x, (low + high) / 2)
    step = high - low
    before = step
    left = tl.full([ELEMENTS], 1, tl.int32)
    iteration = 0
    going = 1
    while going > 0:
        z = (x[:, None] - means) * inverse_scales
        lowest = tl.min(z, 1)
        shift = tl.maximum(tl.maximum(lowest, -tl.max(z, 1)), 0.0)
        tiny = tl.exp(shift[:, None] - tl.abs(z))
        larger = 1 / (1 + tiny * tl.exp(-shift)[:, None])
        share = weights * larger
        small = tiny * share
        right = z > 0
        cdf = tl.sum(tl.where(right, share, small), 1)
        survival = tl.sum(tl.where(right, small, share), 1)
        slope = tl.sum(small * larger * inverse_scales, 1) / (cdf * survival)
        residual = tl.log(cdf) - tl.log(survival) + tl.where(lowest > 0, shift, -shift) - y
        high = tl.where(residual > 0, x, high)
        low = tl.where(residual > 0, low, x)
        move = residual / slope
        settled = tl.abs(residual) < 4 * eps * (tl.abs(x) * slope + 4 + tl.abs(y))
        moved = x - move
        take = (moved >= low) & (moved <= high) & (2 * tl.abs(move) <= tl.abs(before))
        new = tl.where(take | settled, tl.minimum(tl.maximum(moved, low), high), (low + high) / 2)
        # What is done stays: rounding could have it bisected away while its neighbours go on.
        new = tl.where(left > 0, new, x)
        before = step
        step = new - x
        x = new
        left = tl.where(settled | (high - low <= 2 * eps * tl.abs(x)), 0, left)
        iteration += 1
        going = tl.where(iteration < iterations, tl.max(left, 0), 0)
    tl.store(x_at + n, x, mask=inside)
