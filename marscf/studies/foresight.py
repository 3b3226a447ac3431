"""How long a run's measurements will take on a device, from one small batch of each."""

import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from marscf.compat.importing import own_protocol
from marscf.config import Interpolation, load_config
from marscf.data.arrays import open_split, read_manifest
from marscf.devices import choose_device
from marscf.durations import in_words
from marscf.evaluation.measure_likelihood import settings_of
from marscf.evaluation.sampling import sample_chunk
from marscf.models import load
from marscf.models.base import DensityModel, FlowModel
from marscf.runs import Run
from marscf.studies.interpolation import Units
from marscf.studies.interpolation_study import all_choices, limited
from marscf.studies.interpolation_walk import Choice, walk

#: Images of a batch on a CPU, whose time grows with the images; a GPU gets a batch of the real size.
PROBED = 4
Part = tuple[str, float]  # what, seconds


def foresee(folder: str | Path, device: str = "auto", images: int | None = None) -> str:
    """Return a line with the number of images of each measurement, and about how long it takes.

    Likelihood by one protocol or two, samples for FID, and interpolation where the scale asks for it of this
    run. `images` is how many at most. Each measurement says it better, after its first batch.
    """
    run = Run.from_path(folder)
    model = load(folder, choose_device(device))
    parts = [*_likelihoods(model, run, Path(folder), images), *_samples(model, Path(folder), images)]
    if isinstance(model, FlowModel):
        parts += _interpolation(model, run, images)
    found = ", ".join(f"{what} about {in_words(seconds)}" for what, seconds in parts)
    return f"{folder} on {model.device}: {found}"


def _likelihoods(model: DensityModel, run: Run, folder: Path, images: int | None) -> list[Part]:
    settings = settings_of(folder)
    available = read_manifest(run.dataset)["splits"]["test"]["count"]
    count = min(limit for limit in (settings.images, images, available) if limit is not None)
    x = _validation_images(model, run.dataset, _size(model, settings.batch_size))
    noise = model.draw_noise(len(x), torch.Generator().manual_seed(0))
    asked = {} if model.estimate is None else {"estimate": model.estimate}

    @torch.no_grad()
    def score() -> None:
        model.log_prob(x, noise, **asked).cpu()  # which waits for the device

    passes = 1 if noise is None else max(settings.draws, settings.importance_samples)
    once = count * _second_call(score) / len(x)
    parts = [(f"likelihood of {count:,} test images", passes * once)]
    protocol = own_protocol(folder)
    if protocol is not None and protocol.prepare is not None:
        parts.append(("the same as published", once))
    return parts


def _samples(model: DensityModel, folder: Path, images: int | None) -> list[Part]:
    settings = settings_of(folder).fidelity
    if settings.extractor == "none":
        return []
    count, size = min(settings.samples, images or settings.samples), _size(model, settings.batch_size)
    seconds = _second_call(lambda: sample_chunk(model, size, 0, 0)) / size
    return [(f"{count:,} samples for FID", count * seconds)]


def _interpolation(model: FlowModel, run: Run, images: int | None) -> list[Part]:
    scale = load_config().scales.get(run.scale)
    studies = [] if scale is None else scale.studies.interpolation
    found = [limited(study, images) for study in studies if _names(study) == (run.dataset, run.system)]
    return [_walks(model.requires_grad_(False), study) for study in found]


def _names(study: Interpolation) -> tuple[str, str]:
    return study.dataset, study.system


def _walks(model: FlowModel, study: Interpolation) -> Part:
    tests, inner = max(study.pairs, study.score_pairs), study.points - 2
    points = inner * (tests + len(all_choices(study)) * study.validation_pairs)
    # one point of each pair, moved a few times: what comes before and after is left out
    wanted = _size(model, max(1, study.batch_size // inner * inner))
    images = _validation_images(model, study.dataset, 2 * wanted)
    pairs = len(images) // 2  # a small dataset has fewer
    images = images[: 2 * pairs].unflatten(0, (pairs, 2))
    units, way = Units([1.0] * len(model.latent_shapes), 1.0), Choice(study.density, study.lambdas[0])

    def move(iterations: int) -> None:
        short = study.model_copy(update={"points": 3, "iterations": iterations})
        walk(model, images, units, way, short, lambda gain: None)

    each = max(_second_call(lambda: move(3)) - _second_call(lambda: move(1)), 0.0) / 2 / pairs
    what = f"interpolation ({points:,} points moved {study.iterations} times)"
    return what, points * study.iterations * each


def _validation_images(model: DensityModel, dataset: str, count: int) -> Tensor:
    return torch.from_numpy(np.array(open_split(dataset, "val")[:count])).to(model.device)


def _size(model: DensityModel, batch_size: int) -> int:
    return batch_size if model.device.type == "cuda" else min(PROBED, batch_size)


def _second_call(call: Callable[[], object]) -> float:
    """Seconds of a call, after one that warms up."""
    call()
    start = time.perf_counter()
    call()
    return time.perf_counter() - start
