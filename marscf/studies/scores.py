"""The Inception score along a path (Fig. 12)."""

from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

import numpy as np

from marscf.errors import EvaluationError

if TYPE_CHECKING:
    from marscf.evaluation.extractors import Extractor


def inception_score(probabilities: np.ndarray) -> tuple[float, float]:
    """Return `exp(mean KL(p(c|x) ‖ p(c)))` of n images, over all as one set, and its standard error.

    The mean class distribution is that of the n images themselves (arXiv 1606.03498). The error is the
    jackknife's, over images. Raises `EvaluationError` for fewer than two images or rows that are no
    distribution.
    """
    p = np.asarray(probabilities, dtype=np.float64)
    n = len(p)
    if n < 2 or not (np.isfinite(p).all() and (p >= 0).all() and np.allclose(p.sum(1), 1, atol=1e-3)):
        raise EvaluationError(f"inception score: needs two or more class distributions, got {p.shape}")
    negative_entropy = _p_log_p(p).sum(1)
    total, of_mean = p.sum(0), _p_log_p(p.mean(0)).sum()
    score = np.exp(negative_entropy.mean() - of_mean)
    mean_without = (total - p) / (n - 1)
    entropy_without = (negative_entropy.sum() - negative_entropy) / (n - 1)
    without = np.exp(entropy_without - _p_log_p(mean_without).sum(1))
    error = np.sqrt((n - 1) / n * ((without - without.mean()) ** 2).sum())
    return float(score), float(error)


def _p_log_p(p: np.ndarray) -> np.ndarray:
    return p * np.log(np.maximum(p, np.finfo(np.float64).tiny))


def score_paths(
    images: np.ndarray, t: np.ndarray, methods: tuple[str, ...], extractor: "Extractor"
) -> Iterator[list[Any]]:
    """Yield a row `method, t, metric, value, stderr, n, protocol` for each method and point.

    `images` is uint8 `(pairs, methods, points, C,H,W)`; each score is over the pairs' images at one `t`. It
    grows with the number of images, so compare scores of equal n alone: the protocol says which.
    """
    pairs = len(images)
    protocol = f"{pairs} images at each t as one set, jackknife error; {extractor.card}"
    for index, method in enumerate(methods):
        for point, at in enumerate(t):
            value, error = inception_score(extractor.probabilities(images[:, index, point]))
            yield [method, float(at), extractor.metric("inception_score"), value, error, pairs, protocol]
