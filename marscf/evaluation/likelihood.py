"""Bits per dimension on the test images.

For dequantised models each image is scored with R seeded draws of the noise, and their mean estimates the
lower bound; the log-mean-exp over k draws estimates the tighter importance-weighted bound
`log (1/k) Σ p(x, u_i)/q(u_i | x)` (Burda et al., arXiv 1509.00519). The noise of an image depends on the seed
and on the image's index alone, so the batch size changes nothing but the rounding.
"""

import math
import tempfile
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import torch

from marscf.code import behind
from marscf.errors import EvaluationError
from marscf.evaluation.measurements import measurement
from marscf.evaluation.sampling import seeded
from marscf.evaluation.stream import CACHE, fill, place
from marscf.files import seed_from
from marscf.kernels.graphs import Replays
from marscf.kernels.precision import tf32

if TYPE_CHECKING:
    from marscf.models.base import DensityModel, Estimate


@dataclass(frozen=True)
class Likelihood:
    """Log-likelihoods `nats (N,P)`, float64, of N images in P draws of the noise.

    The bound is over the first `draws` of them, the importance-weighted one over the first
    `importance_samples`: 0 where the model takes no noise and was scored once. `estimate` is which estimate
    of a stochastic log-determinant was taken, None where the model has none.
    """

    nats: np.ndarray
    draws: int
    importance_samples: int
    estimate: "Estimate | None" = None

    @property
    def bound(self) -> np.ndarray:
        """The mean over the draws, `(N,)` nats."""
        mean: np.ndarray = self.nats[:, : max(self.draws, 1)].mean(axis=1)
        return mean

    @property
    def importance_weighted(self) -> np.ndarray | None:
        """The log-mean-exp over the draws, `(N,)` nats; None where it was not asked for."""
        return _log_mean_exp(self.nats[:, : self.importance_samples]) if self.importance_samples else None


#: The most that a stochastic log-determinant may add to the standard error of the mean, in bits/dim.
LARGEST_ESTIMATION_ERROR = 0.002
ESTIMATED_TWICE = 64  # images that tell how large it is
TRAINING_IMAGES = 500  # scored besides: how far training and test images are apart


def evaluate_likelihood(
    model: "DensityModel",
    images: np.ndarray,
    *,
    draws: int = 4,
    importance_samples: int = 0,
    batch_size: int = 250,
    seed: int = 0,
    kept: Path | None = None,
    progress: bool = False,
    prepare: "Callable[[DensityModel], object] | None" = None,
) -> Likelihood:
    """Score every image of `uint8 (N,C,H,W)`, in float32 with TF32 off, none dropped.

    Each batch's scores are on disk, in the file `kept`, before the next begins, and a later call goes on
    after them: its name must hold what they depend on. Without it they lie in a temporary folder.

    A model whose `draw_noise` gives None is scored once; one with a stochastic log-determinant takes as many
    probes as `LARGEST_ESTIMATION_ERROR` asks for. `prepare` changes the model before it is scored; it then
    takes as many probes as it has itself. Raises `EvaluationError` where there are no images, and naming the
    first image whose log-likelihood is not finite.
    """
    count = len(images)
    if count == 0:
        raise EvaluationError("no test images to score")
    model = model.float().eval()
    if prepare is None:
        estimate = accurate_estimate(model, images, seed)
    else:
        prepare(model)
        estimate = model.estimate
    asked = {} if estimate is None else {"estimate": estimate}  # a model without one need not know the word
    random = model.draw_noise(1, torch.Generator().manual_seed(0)) is not None
    draws, importance_samples = (draws, importance_samples) if random else (0, 0)
    passes = max(draws, importance_samples, 1)
    recordings, recorded = Replays(), model.recorded and not model.training  # dropout is drawn anew each time

    def score(start: int, stop: int) -> np.ndarray:
        x = torch.from_numpy(np.array(images[start:stop])).to(model.device)
        generators = [torch.Generator().manual_seed(seed_from("noise", seed, i)) for i in range(start, stop)]
        nats = np.empty((stop - start, passes))
        with torch.no_grad(), tf32(False):
            for draw in range(passes):
                noise = _noise(model, generators)
                with seeded("likelihood", seed, start, draw):  # for what a model draws besides
                    if recorded:
                        log_prob = recordings.run(model.log_prob, [x, noise])
                    else:
                        log_prob = model.log_prob(x, noise, **asked)
                    nats[:, draw] = log_prob.double().cpu().numpy()
        refuse_non_finite(nats, start)
        return nats

    with tempfile.TemporaryDirectory() as scratch:
        path = kept or Path(scratch) / "nats.npy"
        shape = (count, passes)
        nats = np.array(
            fill(path, shape, np.float64, score, batch_size, desc="likelihood", progress=progress)
        )
    return Likelihood(nats, draws, importance_samples, estimate)


def _noise(model: "DensityModel", generators: list[torch.Generator]) -> torch.Tensor | None:
    """The noise of as many images as there are generators, None where the model takes none."""
    drawn = [noise for generator in generators if (noise := model.draw_noise(1, generator)) is not None]
    return torch.cat(drawn) if drawn else None


def _log_mean_exp(values: np.ndarray) -> np.ndarray:
    """Over the second axis."""
    peak = values.max(axis=1)
    result: np.ndarray = peak + np.log(np.exp(values - peak[:, None]).mean(axis=1))
    return result


def accurate_estimate(model: "DensityModel", images: np.ndarray, seed: int = 0) -> "Estimate | None":
    """Return the model's estimate with as many probes as `LARGEST_ESTIMATION_ERROR` asks for, if it has one.

    An error that is not finite is left to the scores themselves, which name the image.
    """
    estimate = model.estimate
    if estimate is not None:
        while LARGEST_ESTIMATION_ERROR < estimation_error(model, estimate, images, seed) < math.inf:
            estimate = replace(estimate, probes=2 * estimate.probes)
    return estimate


@torch.no_grad()
def estimation_error(model: "DensityModel", estimate: "Estimate", images: np.ndarray, seed: int = 0) -> float:
    """Return what a stochastic log-determinant adds to the mean's standard error, in bits/dim.

    From the difference of two independent estimates of the first images.
    """
    some = torch.from_numpy(np.array(images[:ESTIMATED_TWICE])).to(model.device)
    noise = model.draw_noise(len(some), torch.Generator().manual_seed(seed_from("estimation", seed)))
    with tf32(False):
        others = [replace(estimate, index=estimate.index + k) for k in (1, 2)]
        twice = [model.log_prob(some, noise, other).double() for other in others]
    variance = (twice[0] - twice[1]).square().mean().item() / 2
    return math.sqrt(variance / len(images)) / (math.prod(model.shape) * math.log(2))


def kept_scores(
    model: "DensityModel", cache: Path = CACHE, stage: str = "likelihood", **names: object
) -> Path:
    """Return where an evaluation keeps its scores: its name hashes the stage's code and all of `names`."""
    return place(cache, "likelihood", {"code": behind(stage, type(model)), **names})


def refuse_non_finite(nats: np.ndarray, start: int) -> None:
    """Raise `EvaluationError` for the first non-finite entry of `nats (B,draws)`, image `start` first."""
    bad = np.argwhere(~np.isfinite(nats))
    if len(bad):
        index, draw = bad[0]
        raise EvaluationError(
            f"test image {start + index}: log-likelihood is {nats[index, draw]} in draw {draw}; "
            "the weights are unusable there: train longer or with a lower learning rate"
        )


def likelihood_measurements(
    result: Likelihood,
    model: "DensityModel",
    *,
    dims: int,
    available: int,
    training: Likelihood | None = None,
    flops: float | None = None,
    seed: int = 0,
) -> list[dict[str, Any]]:
    """Return `bits_per_dim`, `nats_per_image`, `bits_per_dim_iw` (where asked for) and what the model costs.

    `dims` is what bits/dim divides by; `available` how many test images the dataset has; `training` the
    scores of training images, for `bits_per_dim_train`; `flops` what training on one image takes.
    """
    count = len(result.nats)
    which = (
        f"test images, dims {dims}, no image dropped"
        if count == available
        else f"of {available} test images, dims {dims}"
    )
    scale = -1 / (dims * math.log(2))
    protocol = _protocol(result, model, f"{count} {which}", seed)
    entries = [
        measurement("bits_per_dim", *mean_and_error(result.bound * scale), count, protocol),
        measurement("nats_per_image", *mean_and_error(-result.bound), count, protocol),
    ]
    if result.importance_weighted is not None:
        value = mean_and_error(result.importance_weighted * scale)
        weighted = _protocol(result, model, f"{count} {which}", seed, weighted=True)
        entries.append(measurement("bits_per_dim_iw", *value, count, weighted))
    if training is not None:
        chosen = f"{len(training.nats)} training images, dims {dims}"
        value = mean_and_error(training.bound * scale)
        protocol = _protocol(training, model, chosen, seed)
        entries.append(measurement("bits_per_dim_train", *value, len(training.nats), protocol))
    parameters = sum(parameter.numel() for parameter in model.parameters())
    entries.append(measurement("parameters", parameters, None, 1, "trainable numbers"))
    if flops is not None:
        counted = "convolutions and matrix products of the loss and its gradients, counted, not timed"
        entries.append(measurement("gflops_per_image", flops / 1e9, None, 1, counted))
    return entries


def _protocol(
    result: Likelihood, model: "DensityModel", images: str, seed: int, weighted: bool = False
) -> str:
    """What was scored, how, as one line."""
    parts = [model.likelihood]
    if result.estimate is not None:
        parts[0] += f", {result.estimate.probes} probe(s) an image"
    if weighted:
        parts.append(f"importance-weighted over {result.importance_samples} draws")
    elif result.draws:
        parts.append(f"{result.draws} draw{'s' * (result.draws > 1)}")
    if result.estimate is not None:
        parts.append(f"the log-determinant's error below {LARGEST_ESTIMATION_ERROR} bits/dim")
    parts += [images, "float32"]
    if result.draws:
        parts.append(f"noise seed {seed}")
    return ", ".join(parts)


def mean_and_error(values: np.ndarray) -> tuple[float, float | None]:
    """Return the mean and its standard error (None for a single value)."""
    error = float(values.std(ddof=1) / math.sqrt(len(values))) if len(values) > 1 else None
    return float(values.mean()), error
