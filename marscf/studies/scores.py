"""The Inception score along paths (Fig. 12), and by how much it differs between them."""

from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING, Any, TypeVar

import numpy as np

from marscf.errors import EvaluationError

if TYPE_CHECKING:
    from marscf.evaluation.extractors import Extractor


Path = TypeVar("Path")  # what a path is called


def inception_score(probabilities: np.ndarray) -> tuple[float, float]:
    """Return `exp(mean KL(p(c|x) ‖ p(c)))` of n images, over all as one set, and its standard error.

    The mean class distribution is that of the n images themselves (arXiv 1606.03498). The error is the
    jackknife's, over images. Raises `EvaluationError` for fewer than two images or rows that are no
    distribution.
    """
    score, without = _leaving_one_out(probabilities)
    return score, _jackknife(without)


def _leaving_one_out(probabilities: np.ndarray) -> tuple[float, np.ndarray]:
    """The score of n images, and the n scores of all but one."""
    p = np.asarray(probabilities, dtype=np.float64)
    n = len(p)
    if n < 2 or not (np.isfinite(p).all() and (p >= 0).all() and np.allclose(p.sum(1), 1, atol=1e-3)):
        raise EvaluationError(f"inception score: needs two or more class distributions, got {p.shape}")
    negative_entropy = _p_log_p(p).sum(1)
    total, of_mean = p.sum(0), _p_log_p(p.mean(0)).sum()
    score = np.exp(negative_entropy.mean() - of_mean)
    mean_without = (total - p) / (n - 1)
    entropy_without = (negative_entropy.sum() - negative_entropy) / (n - 1)
    return float(score), np.exp(entropy_without - _p_log_p(mean_without).sum(1))


def _jackknife(without: np.ndarray) -> float:
    """The standard error of what takes the values `without (n,)` as one of n observations is left out."""
    n = len(without)
    return float(np.sqrt((n - 1) / n * ((without - without.mean()) ** 2).sum()))


def _p_log_p(p: np.ndarray) -> np.ndarray:
    return p * np.log(np.maximum(p, np.finfo(np.float64).tiny))


#: The columns that `score_paths` gives for each path.
COLUMNS = ("t", "metric", "value", "stderr", "difference", "difference_stderr", "n", "protocol")


def score_paths(
    paths: Mapping[Path, np.ndarray], t: np.ndarray, extractor: "Extractor"
) -> Iterator[tuple[Path, list[Any]]]:
    """Yield `(path, COLUMNS)` for each path at each t, and for the mean over its inner t, where t is "".

    Each path is uint8 `(pairs,points,C,H,W)`; a score is over all pairs' images at one t. The difference is
    to the first path's score there ("" for that path itself). All errors are the jackknife's over pairs, so
    that of a difference counts what both have of the same pair. A score grows with the number of images:
    compare scores of equal n alone; the protocol says which.
    """
    reference: tuple[np.ndarray, np.ndarray] | None = None
    for path, images in paths.items():
        pairs = len(images)
        protocol = f"{pairs} images at each t as one set, jackknife error over pairs; {extractor.card}"
        found = [_leaving_one_out(extractor.probabilities(images[:, point])) for point in range(len(t))]
        score, without = (np.array(values) for values in zip(*found, strict=True))  # (T,), (T,pairs)
        score, without = np.append(score, score[1:-1].mean()), np.vstack([without, without[1:-1].mean(0)])
        for place, at in enumerate([*map(float, t), ""]):
            numbers = [float(score[place]), _jackknife(without[place]), "", ""]
            if reference is not None:
                difference = without[place] - reference[1][place]
                numbers[2:] = [float(score[place] - reference[0][place]), _jackknife(difference)]
            yield path, [at, extractor.metric("inception_score"), *numbers, pairs, protocol]
        reference = reference or (score, without)
