"""Bits/dim of an imported run, as the code that it comes from evaluates it.

Its number stands beside ours: what lies between the two is the protocol, and not the model.
"""

import math
from pathlib import Path
from typing import Any

import numpy as np

from marscf.compat.code import OwnProtocol
from marscf.compat.importing import own_protocol
from marscf.data.arrays import dataset_of, open_split
from marscf.devices import choose_device
from marscf.errors import EvaluationError
from marscf.evaluation.likelihood import evaluate_likelihood, kept_scores, mean_and_error
from marscf.evaluation.measure_likelihood import settings_of
from marscf.evaluation.measured import read_per_image
from marscf.evaluation.measurements import (
    PER_IMAGE,
    measurement,
    trial,
    weights_hash,
    write_measurements,
)
from marscf.evaluation.stream import discard
from marscf.files import sha256_file
from marscf.models import load
from marscf.runs import Run, run_config
from marscf.settings import RunConfig

METRIC = "bits_per_dim[as published]"
AS_PUBLISHED = "as_published.json"


def measure_as_published(
    path: Path,
    *,
    images: int | None = None,
    seed: int = 0,
    device: str = "auto",
    report: bool = False,
    progress: bool = False,
) -> list[dict[str, Any]]:
    """Measure bits/dim by the protocol of the run's own code, and write RUN/as_published.json.

    With fewer `images` or another `seed` it is a trial, RUN/trial-as_published.json, unless it is for the
    `report`.

    Nothing is measured where that protocol is ours. With fewer `images` than the test set has, none of them
    is left out. Where the code scores the model as we do, the scores of RUN/likelihood.npz are taken. Raises
    `EvaluationError` where these are missing, or of fewer images.
    """
    config, settings = run_config(path), settings_of(path)
    protocol = own_protocol(path)
    entries: list[dict[str, Any]] = []
    out = path / AS_PUBLISHED
    origin = {"weights_sha256": weights_hash(path), "data_digest": dataset_of(config)["digest"]}
    if protocol is not None:
        available = len(open_split(config.dataset, "test"))
        asked = min(settings.images or available, available)
        count = min(images or asked, available)
        if not report and (count, seed) != (asked, 0):
            out = trial(out)
        how = protocol.words
        if count == available and protocol.batch_size and count >= protocol.batch_size:
            count -= count % protocol.batch_size
            how += f", a last partial batch of {protocol.batch_size} left out"
        if protocol.prepare is None:
            nats, draws = _measured(path, count), ""
            origin["per_image_sha256"] = sha256_file(path / PER_IMAGE)
        else:
            nats, draws = _score(path, config, protocol, count, seed, device, progress), ", 1 draw"
        words = (
            f"lower bound, uniform dequantisation{draws}, as its code evaluates it: {how}, "
            f"{count} of {available} test images, dims {config.data.dims}, float32, noise seed {seed}"
        )
        bits = nats / (-config.data.dims * math.log(2))
        entries = [measurement(METRIC, *mean_and_error(bits), count, words)]
    write_measurements(out, Run.from_path(path), entries, **origin)
    return entries


def _measured(path: Path, count: int) -> np.ndarray:
    """The scores of the first `count` images that `marscf evaluate likelihood` left."""
    scores = read_per_image(path)
    if scores is None or len(scores.nats) < count:
        raise EvaluationError(f"{path}: first measure all images: marscf evaluate likelihood {path}")
    return scores.nats[:count]


def _score(
    path: Path,
    config: RunConfig,
    protocol: OwnProtocol,
    count: int,
    seed: int,
    device: str,
    progress: bool,
) -> np.ndarray:
    """Score the first `count` images, with the model as the code has it."""
    model = load(path, choose_device(device))
    how: dict[str, Any] = {
        "draws": 1,
        "batch_size": protocol.batch_size or settings_of(path).batch_size,
        "seed": seed,
    }
    names = {"weights": weights_hash(path), "data": dataset_of(config)["digest"], "count": count}
    kept = kept_scores(model, stage="as-published", protocol=protocol.words, device=device, **names, **how)
    images = open_split(config.dataset, "test")[:count]
    result = evaluate_likelihood(model, images, **how, kept=kept, progress=progress, prepare=protocol.prepare)
    discard(kept)
    return result.bound
