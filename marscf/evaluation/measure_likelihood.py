"""The likelihood of a run: which images are scored, how, and what is written."""

import hashlib
from pathlib import Path
from typing import Any

import numpy as np
import torch

from marscf.config import Evaluation, load_config
from marscf.data.arrays import dataset_of, open_split
from marscf.devices import choose_device
from marscf.evaluation.flops import training_flops
from marscf.evaluation.likelihood import (
    TRAINING_IMAGES,
    evaluate_likelihood,
    kept_scores,
    likelihood_measurements,
)
from marscf.evaluation.measurements import PerImage, trial, weights_hash, write_measurements, write_per_image
from marscf.evaluation.stream import discard
from marscf.models import load
from marscf.runs import Run, run_config


def measure_likelihood(
    path: Path,
    *,
    draws: int | None = None,
    importance_samples: int | None = None,
    images: int | None = None,
    batch_size: int | None = None,
    seed: int = 0,
    device: str = "auto",
    report: bool = False,
    progress: bool = False,
) -> list[dict[str, Any]]:
    """Measure bits/dim; write RUN/likelihood.json and, image by image, RUN/likelihood.npz.

    What is not given comes from the `evaluation` section of the run's scale; `images` is how many at most.
    With anything else it is a trial, RUN/trial-likelihood.json, unless it is for the `report`.
    """
    config, settings = run_config(path), settings_of(path)
    model = load(path, choose_device(device))
    available = open_split(config.dataset, "test")
    asked = min(settings.images or len(available), len(available))
    count = min(images or asked, len(available))
    if importance_samples is None:
        importance_samples = settings.importance_samples
    how: dict[str, Any] = {
        "draws": draws or settings.draws,
        "importance_samples": importance_samples,
        "batch_size": batch_size or settings.batch_size,
        "seed": seed,
    }
    weights, data = weights_hash(path), dataset_of(config)["digest"]
    names = {"weights": weights, "data": data, "count": count, "device": device, **how}
    kept = kept_scores(model, **names)
    images_scored = np.array(available[:count])
    result = evaluate_likelihood(model, images_scored, **how, kept=kept, progress=progress)
    training = evaluate_likelihood(
        model, some_training_images(config.dataset, count), **{**how, "importance_samples": 0}
    )
    dims = config.data.dims
    entries = likelihood_measurements(
        result,
        model,
        dims=dims,
        available=len(available),
        training=training,
        flops=training_flops(model, torch.from_numpy(images_scored[0])),
        seed=seed,
    )
    origin, out = {"weights_sha256": weights, "data_digest": data}, path / "likelihood.json"
    # Of as many as have scores: were some dropped, `marscf check` says so by the count.
    origin["images_sha256"] = hashlib.sha256(images_scored[: len(result.nats)].data).hexdigest()
    said = {"draws": settings.draws, "importance_samples": settings.importance_samples, "seed": 0}
    if report or (count == asked and all(how[name] == said[name] for name in said)):
        origin["per_image_sha256"] = write_per_image(
            path, PerImage(result.nats, max(result.draws, 1), result.importance_samples, dims, data)
        )
    else:
        out = trial(out)
    write_measurements(out, Run.from_path(path), entries, **origin)
    discard(kept)
    return entries


def some_training_images(dataset: str, most: int) -> np.ndarray:
    """Return `TRAINING_IMAGES` training images or `most`, whichever is less: a seeded choice."""
    images = open_split(dataset, "train")
    order = np.random.default_rng(0).permutation(len(images))
    return images[np.sort(order[: min(TRAINING_IMAGES, most)])]


def settings_of(path: Path) -> Evaluation:
    """Return how a run's scale measures on its dataset; the defaults for a scale that is not in `config/`."""
    run = Run.from_path(path)
    if not Path("config").is_dir():
        return Evaluation()
    config = load_config()
    scale = config.scales.get(run.scale)
    return scale.evaluation_on(config.datasets.get(run.dataset)) if scale else Evaluation()
