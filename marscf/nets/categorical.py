"""Draws from a categorical distribution by inverting its distribution function."""

from torch import Tensor, searchsorted


def draw(logits: Tensor, uniform: Tensor) -> Tensor:
    """Map `uniform (…,N)` in [0,1) to categories `(…,N)`, int64, of the distributions `logits (…,G)`.

    The noise is passed in, so that two samplers that agree on the logits agree on the draws.
    """
    cumulative = logits.softmax(-1).cumsum(-1)
    # Scaled by the last entry, which rounding leaves beside 1; `right` never picks a category of weight 0.
    levels = searchsorted(cumulative, (uniform * cumulative[..., -1:]).to(cumulative.dtype), right=True)
    return levels.clamp(max=logits.shape[-1] - 1)
