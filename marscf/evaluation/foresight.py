"""How long a run's measurements will take on a device, from one small batch of each."""

import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import torch

from marscf.data.arrays import open_split, read_manifest
from marscf.devices import choose_device
from marscf.durations import in_words
from marscf.evaluation.measure_likelihood import settings_of
from marscf.evaluation.sampling import sample_chunk
from marscf.models import load
from marscf.models.base import DensityModel
from marscf.runs import run_config

PROBED = (
    4  # images of a batch on a CPU, whose time grows with the images; a GPU gets a batch of the real size
)


def foresee(run: str | Path, device: str = "auto", images: int | None = None) -> str:
    """Return a line with the number of images, and about how long they take: likelihood, samples for FID.

    `images` is how many at most. A model whose time depends on the images, or a GPU that compiles at first,
    makes it a rough number; each measurement says a better one after its first batch.
    """
    run = Path(run)
    settings, dataset = settings_of(run), run_config(run).dataset
    where = choose_device(device)
    model = load(run, where)
    most = images or 10**9
    tests = min(settings.images or most, most, read_manifest(dataset)["splits"]["test"]["count"])
    passes = max(settings.draws, settings.importance_samples) if _takes_noise(model) else 1
    parts = {
        f"likelihood of {tests:,} test images": tests
        * passes
        * _score_seconds(model, dataset, settings.batch_size)
    }
    if settings.fidelity.extractor != "none":
        samples = min(settings.fidelity.samples, most)
        parts[f"{samples:,} samples for FID"] = samples * _draw_seconds(model, settings.fidelity.batch_size)
    found = ", ".join(f"{what} about {in_words(seconds)}" for what, seconds in parts.items())
    return f"{run} on {where}: {found}"


def _takes_noise(model: DensityModel) -> bool:
    return model.draw_noise(1, torch.Generator().manual_seed(0)) is not None


def _score_seconds(model: DensityModel, dataset: str, batch_size: int) -> float:
    """Seconds of one pass over one image, in a batch of validation images."""
    count = _size(model, batch_size)
    x = torch.from_numpy(np.array(open_split(dataset, "val")[:count])).to(model.device)
    noise = model.draw_noise(len(x), torch.Generator().manual_seed(0))
    asked = {} if model.estimate is None else {"estimate": model.estimate}

    def score() -> None:
        with torch.no_grad():
            model.log_prob(x, noise, **asked).cpu()  # which waits for the device

    return _second_call(score) / len(x)


def _draw_seconds(model: DensityModel, batch_size: int) -> float:
    """Seconds of one sample, in a batch."""
    count = _size(model, batch_size)
    return _second_call(lambda: sample_chunk(model, count, 0, 0)) / count


def _size(model: DensityModel, batch_size: int) -> int:
    return batch_size if model.device.type == "cuda" else min(PROBED, batch_size)


def _second_call(call: Callable[[], object]) -> float:
    """Seconds of a call, after one that warms up."""
    call()
    start = time.perf_counter()
    call()
    return time.perf_counter() - start
