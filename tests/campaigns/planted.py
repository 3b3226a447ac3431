"""Errors that a change of the code could make: each takes pytest's monkeypatch, and plants one."""

import math
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

from marscf.data.arrays import open_split
from marscf.evaluation import fidelity, likelihood, measure_fidelity, measure_likelihood
from marscf.flows.actnorm import ActNorm
from marscf.flows.conv1x1 import InvertibleConv1x1
from marscf.flows.coupling import AffineCoupling
from marscf.flows.pixels import Logit
from marscf.models.base import FlowModel
from marscf.models.histogram import PixelHistogram
from marscf.training import run, train

Plant = Callable[[Any], None]


def changed(place: object, name: str, change: Callable) -> Plant:
    """`change(real, …)` is called in the place of `real(…)`."""

    def plant(patch: Any) -> None:
        real = getattr(place, name)
        patch.setattr(place, name, lambda *args, **more: change(real, *args, **more))

    return plant


# ---- in a likelihood


def of_draws(chosen: Callable[[np.ndarray], np.ndarray]) -> Plant:
    """Something else than the mean over the draws `(N,P)` is taken for the bound."""
    return lambda patch: patch.setattr(
        likelihood.Likelihood, "bound", property(lambda self: chosen(self.nats))
    )


def dims(change: int) -> Plant:
    """bits/dim are over another number of dimensions."""
    return changed(
        measure_likelihood,
        "likelihood_measurements",
        lambda real, *args, dims, **more: real(*args, dims=dims + change, **more),
    )


def scored(change: Callable[[np.ndarray], np.ndarray]) -> Plant:
    """Other images are scored than those of the test set."""
    return changed(
        measure_likelihood, "evaluate_likelihood", lambda real, model, x, **how: real(model, change(x), **how)
    )


def easy_twice(real: Callable, model: object, x: np.ndarray, **how: Any) -> likelihood.Likelihood:
    """The images that do well stand in the place of the others."""
    result = real(model, x, **how)
    best = np.argsort(-result.bound)[: len(x) // 2]
    result.nats[:] = np.resize(result.nats[best], result.nats.shape)
    return result


def log_det(kind: type, factor: float) -> Plant:
    """A layer's log-determinant is counted `factor` times."""

    def forward(real: Callable, *args: Any, **more: Any) -> tuple:
        y, change = real(*args, **more)
        return y, factor * change

    def plant(patch: Any) -> None:
        real = kind.forward
        patch.setattr(kind, "forward", lambda self, *args, **more: forward(real, self, *args, **more))

    return plant


def noise(change: Callable) -> Plant:
    """The dequantisation noise is not uniform in [0,1)."""
    return changed(FlowModel, "draw_noise", lambda real, *args: change(real(*args)))


def no_log_grey_levels(patch: Any) -> None:
    """The density of y stands for the probability of x."""
    patch.setattr(
        FlowModel, "log_prob", lambda self, x, noise=None: self.log_density(self.dequantise(x, noise)[0])
    )


#: name → the system whose run is measured, and the error
LIKELIHOOD: dict[str, tuple[str, Plant]] = {
    "training images in place of the test images": (
        "glow",
        changed(
            measure_likelihood,
            "open_split",
            lambda real, name, split: real(name, "train")[:360] if split == "test" else real(name, split),
        ),
    ),
    "the best draw": ("glow", of_draws(lambda nats: nats.max(axis=1))),
    "one draw": ("glow", of_draws(lambda nats: nats[:, -1])),
    "dims + 1": ("glow", dims(1)),
    "dims - 1": ("glow", dims(-1)),
    "1/k forgotten": (
        "glow",
        changed(likelihood, "_log_mean_exp", lambda real, nats: np.logaddexp.reduce(nats, axis=1)),
    ),
    "error x 30, which hides bits + 20 %": (
        "glow",
        changed(likelihood, "mean_and_error", lambda real, x: (1.2 * real(x)[0], 30 * real(x)[1])),
    ),
    "standard deviation for standard error": (
        "glow",
        changed(
            likelihood, "mean_and_error", lambda real, x: (float(x.mean()), math.sqrt(len(x)) * real(x)[1])
        ),
    ),
    "log q(u|x) forgotten": (
        "flowpp",
        changed(FlowModel, "dequantise", lambda real, *args: (real(*args)[0], 0.0)),
    ),
    "log of the grey levels forgotten": ("glow", no_log_grey_levels),
    "sign of the couplings' log-determinant": ("glow", log_det(AffineCoupling, -1)),
    "couplings' log-determinant forgotten": ("glow", log_det(AffineCoupling, 0)),
    "ActNorms' log-determinant forgotten": ("glow", log_det(ActNorm, 0)),
    "1x1 convolutions' log-determinant forgotten": ("glow", log_det(InvertibleConv1x1, 0)),
    "logit's log-determinant forgotten": ("glow", log_det(Logit, 0)),
    "no noise": ("glow", noise(lambda u: 0 * u + 0.5)),
    "half of the noise": ("glow", noise(lambda u: u / 2)),
    "noise twice as wide": ("glow", noise(lambda u: 2 * u - 0.5)),
    "a batch left out": ("glow", scored(lambda x: x[:250])),
    "darkened images": ("glow", scored(lambda x: np.asarray(x) // 2)),
    "easy images twice": ("glow", changed(measure_likelihood, "evaluate_likelihood", easy_twice)),
}


# ---- in a fidelity


def samples_of(split: str) -> Plant:
    """Real images pass for samples."""

    def drawn(real: Callable, model: object, weights: str, count: int, **how: Any) -> Path:
        images, path = open_split("digits", split), Path("planted.npy")
        np.save(path, np.resize(images, (count, *images.shape[1:])))
        return path

    return changed(measure_fidelity, "draw_samples", drawn)


#: name → the error; the run is Glow's
FIDELITY: dict[str, Plant] = {
    "training images as samples": samples_of("train"),
    "test images as samples": samples_of("test"),
    "samples against themselves": changed(
        measure_fidelity, "compare", lambda real, one, two, *args, **more: real(one, one, *args, **more)
    ),
    "a tenth of the samples": changed(
        measure_fidelity,
        "draw_samples",
        lambda real, model, weights, count, **how: real(model, weights, count // 10, **how),
    ),
    "no exponential in the Inception score": changed(
        fidelity, "inception_score_of_logits", lambda real, *args: tuple(map(math.log1p, real(*args)))
    ),
    "KID of other features": changed(
        fidelity,
        "kernel_inception_distance",
        lambda real, one, two, seed: real(one[:, :8] / 4, two[:, :8] / 4, seed),
    ),
    "precision and recall exchanged": changed(
        fidelity, "precision_and_recall", lambda real, *args: real(*args)[::-1]
    ),
    "root of FID": changed(
        fidelity,
        "frechet_inception_distance",
        lambda real, *args: tuple(np.sqrt(real(*args)).tolist()),
    ),
}


# ---- in a training


def half_of_the_steps(real: Callable, path: Path) -> object:
    """The config that is trained has half of the steps of the run's."""
    config = real(path)
    return replace(config, training=replace(config.training, steps=config.training.steps // 2))


#: name → the system that is trained, and the error
TRAINING: dict[str, tuple[str, Plant]] = {
    "half of the steps": ("glow", changed(run, "run_config", half_of_the_steps)),
    "trained on the test images": (
        "histogram",
        changed(train, "open_training", lambda real, name, **more: open_split(name, "test")),
    ),
    "nothing learnt": ("histogram", lambda patch: patch.setattr(PixelHistogram, "fit", lambda *args: None)),
}
