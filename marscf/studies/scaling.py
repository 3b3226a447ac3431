"""How cost grows with the image: the steps of Lemma A.1 and the exponent fitted to times."""

import math
from collections import defaultdict
from collections.abc import Sequence

from marscf.errors import EvaluationError


def levels_at(side: int, base_side: int, base_levels: int) -> int:
    """Return the number of levels at an image side: `base_levels` at `base_side`, growing with log2 N.

    So the last level has the same side whatever N, as Lemma A.1 (arXiv 2004.03891) needs for O(N). One level
    at least, but none for a model without levels.
    """
    return base_levels and max(1, base_levels + round(math.log2(side / base_side)))


def sequential_steps(channels: int, levels: int) -> int:
    """Return the steps that MARPS takes, one per latent channel: `Σ_{i<L} 2^i·C + 2^(L+1)·C` (Lemma A.1)."""
    return sum(2**level * channels for level in range(1, levels)) + 2 ** (levels + 1) * channels


def fit_exponent(
    n: Sequence[float], times: Sequence[float], confidence: float = 0.95
) -> tuple[float, float, float]:
    """Fit `time = c·n^exponent` by least squares in log-log; return `(exponent, low, high)`.

    Repeats at one `n` are first averaged (in the log): they differ by noise alone, while the interval is to
    say how well a power law describes the growth. It is Student's t interval with k-2 degrees of freedom for
    k different `n`. Raises `EvaluationError` for k < 3 and for values that have no logarithm.
    """
    from scipy.stats import t as student

    if len(n) != len(times):
        raise EvaluationError(f"exponent: {len(n)} sizes but {len(times)} times")
    logs = defaultdict(list)
    for size, time in zip(n, times, strict=True):
        if not (size > 0 and 0 < time < math.inf):
            raise EvaluationError(f"exponent: size {size} with time {time}; both must be positive and finite")
        logs[math.log(size)].append(math.log(time))
    if len(logs) < 3:
        raise EvaluationError(f"exponent: {len(logs)} different sizes; an interval needs three or more")
    x = list(logs)
    y = [sum(values) / len(values) for values in logs.values()]
    mean_x, mean_y = sum(x) / len(x), sum(y) / len(y)
    spread = sum((a - mean_x) ** 2 for a in x)
    exponent = sum((a - mean_x) * (b - mean_y) for a, b in zip(x, y, strict=True)) / spread
    residual = sum((b - mean_y - exponent * (a - mean_x)) ** 2 for a, b in zip(x, y, strict=True))
    freedom = len(x) - 2
    margin = student.ppf((1 + confidence) / 2, freedom) * math.sqrt(residual / freedom / spread)
    return exponent, float(exponent - margin), float(exponent + margin)
