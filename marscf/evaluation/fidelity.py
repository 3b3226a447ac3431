"""FID, KID, Inception score, precision and recall, through torch-fidelity's metrics and its Inception.

    inception_score(images, extractor) -> (mean, stderr)      # images uint8 (N,C,H,W)
    compare(samples, reference, …) -> [measurement, …]        # both `Features`

torch-fidelity's own cache is keyed by names alone and is not used: features are kept in
`data/fidelity-cache` under names that hash all that they depend on: images, weights, code, version.
"""

import math
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch

from marscf.code import behind
from marscf.data.arrays import open_split, read_manifest
from marscf.errors import EvaluationError
from marscf.evaluation.extractors import Extractor
from marscf.evaluation.measurements import measurement
from marscf.evaluation.stream import CACHE, discard, fill, place

HALVES = 20  # random halves of the samples, for the standard error of FID
KID_SUBSETS = 100
KID_SUBSET_SIZE = 1000  # at most; half the images where there are fewer
SPLITS = 10  # of the Inception score
NEIGHBOURS = 3  # of precision and recall
FEWEST = 8  # images that a comparison needs
SMALL = 10_000  # with fewer images, the protocol mentions that FID is biased


@dataclass(frozen=True)
class Features:
    """What an extractor says of images: features `(N,F)` and logits `(N,classes)`, float32, at `path`."""

    values: np.ndarray
    logits: np.ndarray
    path: Path

    def discard(self) -> None:
        """Remove them from the cache."""
        discard(self.path)


def extract(
    images: np.ndarray, identity: str, extractor: Extractor, *, cache: Path = CACHE, progress: bool = False
) -> Features:
    """Return the features of `uint8 (N,C,H,W)` images, from the cache; what it lacks is computed and kept.

    `identity` must change with any pixel or the order of the images (a content hash).
    """
    first = extractor(images[:1])
    width = first[0].shape[1]
    key = {
        "images": identity,
        "count": len(images),
        "grey_levels": extractor.grey_levels,
        "extractor": extractor.name,
        "weights": extractor.weights_sha256,
        "code": behind("features"),
        "torch-fidelity": library_version(),
    }
    path = place(cache, "features", key)
    array = fill(
        path,
        (len(images), width + first[1].shape[1]),
        np.float32,
        lambda start, stop: np.concatenate(extractor(np.asarray(images[start:stop])), axis=1),
        extractor.batch_size,
        desc=extractor.name,
        progress=progress,
    )
    return Features(array[:, :width], array[:, width:], path)


def reference_images(
    dataset: str, split: str, most: int | None = None, seed: int = 0
) -> tuple[np.ndarray, str, str]:
    """Return real images `uint8 (N,C,H,W)`, what identifies them, and their card.

    `split` is `train`, `train+val` (the publisher's whole training set) or `test`; of more than `most`
    images a seeded choice is taken.
    """
    parts = [open_split(dataset, part) for part in split.split("+")]
    images = parts[0] if len(parts) == 1 else np.concatenate(parts)
    data = read_manifest(dataset)["digest"]
    identity, card = f"{data}/{split}", f"{len(images)} {split} images of {dataset} {data[:8]}"
    if most and most < len(images):
        rows = np.sort(np.random.default_rng(seed).permutation(len(images))[:most])
        images, identity = images[rows], f"{identity}/{most}/{seed}"
        card = f"{most} of {card} (seed {seed})"
    return images, identity, card


def library_version() -> str:
    """The version of torch-fidelity."""
    from importlib.metadata import version

    return version("torch-fidelity")


def compare(
    samples: Features,
    reference: Features,
    extractor: Extractor,
    *,
    samples_card: str,
    reference_card: str,
    seed: int = 0,
) -> list[dict[str, Any]]:
    """Measure samples against a reference: FID, KID, Inception score, precision, recall, each with its card.

    `samples_card` and `reference_card` say what the images are: number, split or seed, hashes. Raises
    `EvaluationError` for fewer than 8 images on a side.
    """
    count, available = len(samples.values), len(reference.values)
    if min(count, available) < FEWEST:
        raise EvaluationError(
            f"{count} samples against {available} images: {FEWEST} are the fewest on a side"
        )
    card = f"{extractor.card}, torch-fidelity {library_version()}"
    pair = f"{samples_card} against {reference_card}, {card}"
    small = ", biased upwards at so few images" if min(count, available) < SMALL else ""
    fid, fid_error = frechet_inception_distance(samples.values, reference.values, seed)
    kid, kid_error, size = kernel_inception_distance(samples.values, reference.values, seed)
    score, score_error = inception_score_of_logits(samples.logits, seed)
    splits = split_count(count)
    precision, recall = precision_and_recall(samples.values, reference.values, extractor.device)
    rows = [
        ("fid", fid, fid_error, f"{pair}, ± over {HALVES} random halves of the samples{small}"),
        ("kid", kid, kid_error, f"{pair}, {KID_SUBSETS} subsets of {size}, ± over them"),
        ("inception_score", score, score_error, f"{samples_card}, {card}, ± over {splits} splits"),
        ("precision", precision, binomial_error(precision, count), f"{pair}, {NEIGHBOURS} neighbours"),
        ("recall", recall, binomial_error(recall, available), f"{pair}, {NEIGHBOURS} neighbours"),
    ]
    return [
        measurement(extractor.metric(name), value, error, count, card) for name, value, error, card in rows
    ]


def frechet_inception_distance(
    samples: np.ndarray, reference: np.ndarray, seed: int = 0
) -> tuple[float, float]:
    """Return the FID of features `(N,F)` (Heusel et al., arXiv 1706.08500) and its standard error.

    The error is the spread over random halves of the samples, the reference held fixed: the delete-half
    jackknife, which leaves out what the bias in N adds to each half alike.
    """
    from torch_fidelity.metric_fid import (
        KEY_METRIC_FID,
        fid_features_to_statistics,
        fid_statistics_to_metric,
    )

    # In float64: torch-fidelity would take the mean in the features' own float32.
    one, two = (
        fid_features_to_statistics(torch.from_numpy(x.astype(np.float64))) for x in (samples, reference)
    )
    fid = fid_statistics_to_metric(one, two, verbose=False)[KEY_METRIC_FID]
    root = root_of(two["sigma"])
    rng = np.random.default_rng(seed)
    halves = []
    for _ in range(HALVES):
        half = samples[rng.permutation(len(samples))[: len(samples) // 2]].astype(np.float64)
        halves.append(
            frechet_distance(half.mean(axis=0), np.cov(half, rowvar=False), two["mu"], two["sigma"], root)
        )
    return fid, float(np.std(halves, ddof=1))


def root_of(matrix: np.ndarray) -> np.ndarray:
    """Return the symmetric square root of a covariance matrix."""
    values, vectors = np.linalg.eigh(matrix)
    return (vectors * np.sqrt(values.clip(min=0))) @ vectors.T


def frechet_distance(
    mean: np.ndarray, cov: np.ndarray, mean_2: np.ndarray, cov_2: np.ndarray, root_2: np.ndarray
) -> float:
    """Return `|m-m₂|² + tr(Σ + Σ₂ - 2 (Σ₂^½ Σ Σ₂^½)^½)` of two Gaussians, given `root_2 = Σ₂^½`."""
    values = np.linalg.eigvalsh(root_2 @ cov @ root_2)
    cross = np.sqrt(values.clip(min=0)).sum()
    return float(np.sum((mean - mean_2) ** 2) + np.trace(cov) + np.trace(cov_2) - 2 * cross)


def kernel_inception_distance(
    samples: np.ndarray, reference: np.ndarray, seed: int = 0
) -> tuple[float, float, int]:
    """Return the KID of features `(N,F)` (Bińkowski et al., arXiv 1801.01401), its error and the subset size.

    Subsets are drawn without replacement; their spread, times `(m/(N-m))^½` for subsets of m among N, is the
    standard error of the mean over all (at m = N/2 the spread itself).
    """
    from torch_fidelity.metric_kid import KEY_METRIC_KID_MEAN, KEY_METRIC_KID_STD, kid_features_to_metric

    count = min(len(samples), len(reference))
    size = min(KID_SUBSET_SIZE, count // 2)
    found = kid_features_to_metric(
        torch.from_numpy(np.array(samples, dtype=np.float64)),
        torch.from_numpy(np.array(reference, dtype=np.float64)),
        kid_subsets=KID_SUBSETS,
        kid_subset_size=size,
        rng_seed=seed,
        verbose=False,
    )
    return found[KEY_METRIC_KID_MEAN], found[KEY_METRIC_KID_STD] * math.sqrt(size / (count - size)), size


def split_count(count: int) -> int:
    """How many splits the Inception score of so many images is taken over: 10, fewer for very few images."""
    return max(2, min(SPLITS, count // FEWEST))


def inception_score_of_logits(logits: np.ndarray, seed: int = 0) -> tuple[float, float]:
    """Return the Inception score (Salimans et al., arXiv 1606.03498) of logits `(N,classes)`, and its error.

    The mean over 10 splits and its standard error over them.
    """
    from torch_fidelity.metric_isc import KEY_METRIC_ISC_MEAN, KEY_METRIC_ISC_STD, isc_features_to_metric

    splits = split_count(len(logits))
    found = isc_features_to_metric(torch.from_numpy(np.array(logits)), splits=splits, rng_seed=seed)
    return found[KEY_METRIC_ISC_MEAN], found[KEY_METRIC_ISC_STD] / math.sqrt(splits - 1)


def inception_score(images: np.ndarray, extractor: Extractor, seed: int = 0) -> tuple[float, float]:
    """Return the Inception score of `uint8 (N,C,H,W)` images and its standard error."""
    if len(images) < FEWEST:
        raise EvaluationError(f"{len(images)} images: an Inception score needs at least {FEWEST}")
    return inception_score_of_logits(extractor(images)[1], seed)


def precision_and_recall(
    samples: np.ndarray, reference: np.ndarray, device: torch.device | str = "cpu"
) -> tuple[float, float]:
    """Return precision and recall of features `(N,F)` (Kynkäänniemi et al., arXiv 1904.06991).

    The share of samples within the third-neighbour ball of a reference image, and the reverse.
    """
    from torch_fidelity.metric_prc import KEY_METRIC_PRECISION, KEY_METRIC_RECALL, prc_features_to_metric

    found = prc_features_to_metric(
        torch.from_numpy(np.array(samples)).to(device),
        torch.from_numpy(np.array(reference)).to(device),
        prc_neighborhood=NEIGHBOURS,
        prc_batch_size=5000,
        save_cpu_ram=True,
        verbose=False,
    )
    return found[KEY_METRIC_PRECISION], found[KEY_METRIC_RECALL]


def binomial_error(share: float, count: int) -> float:
    """Return the standard error of a share among `count` images."""
    return math.sqrt(share * (1 - share) / count)
