"""Mixtures of logistics, the elementwise map of Flow++'s coupling (Ho et al., arXiv 1902.00275).

With `z_k = (x - mean_k) exp(-log_scale_k)`, the CDF is `F(x) = Σ_k π_k σ(z_k)`, the survival function
`S = 1 - F = Σ_k π_k σ(-z_k)` and the density `f = F' = Σ_k π_k σ(z_k) σ(-z_k) / scale_k`. Each logarithm is
its own log-sum-exp, so that both tails keep their digits: `-log(1/F - 1)` is 21 nats wrong in float32 at
log-odds 15.5, `log F - log S` is not.

Shapes: `x (B,C,H,W)`, in general `(B,*)`; `logits`, `means`, `log_scales` have the K components as
second axis, `(B,K,C,H,W)`. All results have the shape of `x`.
"""

import torch
from torch import Tensor

from marscf.kernels import mixture
from marscf.kernels.precision import at_least_float32, exact


def log_terms(x: Tensor, logits: Tensor, means: Tensor, log_scales: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """Return `log F(x)`, `log S(x)` and `log f(x)`, in nats, at least in float32."""
    with exact(x):
        return mixture.log_terms(*map(at_least_float32, (x, logits, means, log_scales)))


def log_odds(x: Tensor, logits: Tensor, means: Tensor, log_scales: Tensor) -> tuple[Tensor, Tensor]:
    """Return `G(x) = log F - log S`, the logistic quantile of the mixture's CDF, and `log G'(x)`.

    `G' = f/F + f/S = f/(F S)`.
    """
    log_cdf, log_survival, log_pdf = log_terms(x, logits, means, log_scales)
    return log_cdf - log_survival, log_pdf - log_cdf - log_survival


def inverse_log_odds(y: Tensor, logits: Tensor, means: Tensor, log_scales: Tensor) -> Tensor:
    """Return `x` with `G(x) = y`, differentiable in `y` and in the parameters.

    The gradient is the implicit function's: `x - (G(x) - y) / G'` has it, with G' held fixed.
    """
    with exact(y):
        y, logits, means, log_scales = map(at_least_float32, (y, logits, means, log_scales))
        x = mixture.root(y, logits, means, log_scales)
        if torch.is_grad_enabled() and any(t.requires_grad for t in (y, logits, means, log_scales)):
            value, log_slope = log_odds(x, logits, means, log_scales)
            x = x - (value - y) * torch.exp(-log_slope).detach()
        return x
