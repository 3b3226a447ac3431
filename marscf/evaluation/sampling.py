"""Images drawn from a model, in chunks whose randomness is a pure function of (seed, chunk index)."""

import contextlib
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import torch
from tqdm import tqdm

from marscf.code import behind
from marscf.errors import EvaluationError
from marscf.evaluation.stream import CACHE, fill, place
from marscf.files import seed_from

if TYPE_CHECKING:
    from marscf.models.base import DensityModel


@contextlib.contextmanager
def seeded(*names: object) -> Iterator[torch.Generator]:
    """Yield a CPU generator seeded by `names`; torch's global state is seeded too, and put back after."""
    seed = seed_from(*names)
    devices = range(torch.cuda.device_count()) if torch.cuda.is_initialized() else []
    with torch.random.fork_rng(devices=list(devices)):
        torch.manual_seed(seed)
        yield torch.Generator().manual_seed(seed)


def sample_chunk(
    model: "DensityModel", count: int, seed: int, chunk: int, temperature: float = 1.0
) -> np.ndarray:
    """Draw the `count` images, `uint8 (count,C,H,W)`, of one chunk: the same whenever they are asked for.

    Raises `EvaluationError` where the model returns anything but so many images within its grey levels.
    """
    with seeded("samples", seed, chunk) as generator, torch.no_grad():
        drawn = model.sample(count, temperature=temperature, generator=generator)
    expected = (count, *model.shape)
    if drawn.dtype != torch.uint8 or tuple(drawn.shape) != expected:
        raise EvaluationError(f"sample() gave {drawn.dtype} {tuple(drawn.shape)}, not uint8 {expected}")
    images = drawn.cpu().numpy()
    if images.max(initial=0) >= model.grey_levels:
        raise EvaluationError(
            f"sample() gave grey level {images.max()}, the data has 0 to {model.grey_levels - 1}"
        )
    return images


def chunk_sizes(count: int, batch_size: int) -> list[int]:
    """Split `count` images into chunks of `batch_size`; the last may be smaller."""
    return [min(batch_size, count - start) for start in range(0, count, batch_size)]


def draw(
    model: "DensityModel",
    count: int,
    *,
    batch_size: int = 250,
    seed: int = 0,
    temperature: float = 1.0,
    progress: bool = False,
) -> np.ndarray:
    """Draw `count` images, `uint8 (count,C,H,W)`, in chunks of `batch_size`."""
    chunks = []
    with tqdm(total=count, unit="image", desc="sample", disable=not progress) as bar:
        for index, size in enumerate(chunk_sizes(count, batch_size)):
            chunks.append(sample_chunk(model, size, seed, index, temperature))
            bar.update(size)
    return np.concatenate(chunks)


def draw_samples(
    model: "DensityModel",
    weights_sha256: str,
    count: int,
    *,
    batch_size: int = 250,
    seed: int = 0,
    temperature: float = 1.0,
    cache: Path = CACHE,
    progress: bool = False,
) -> Path:
    """Draw `count` images into a `.npy` file in the cache, `uint8 (count,C,H,W)`, and return its path.

    They are drawn in chunks of `batch_size`; what an interrupted call had drawn is kept. The file's name
    hashes the weights, the code that samples, and the settings.
    """
    key = {
        "weights": weights_sha256,
        "code": behind("sample", type(model)),
        "count": count,
        "batch_size": batch_size,
        "seed": seed,
        "temperature": temperature,
    }
    path = place(cache, "samples", key)
    fill(
        path,
        (count, *model.shape),
        np.uint8,
        lambda start, stop: sample_chunk(model, stop - start, seed, start // batch_size, temperature),
        batch_size,
        desc="samples",
        progress=progress,
    )
    return path
