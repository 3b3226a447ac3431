"""What the interpolation study starts from: pairs of images, their exact latents, the units of both."""

import copy

import numpy as np
import torch
from torch import Tensor

from marscf.data.arrays import open_labels, open_split
from marscf.errors import ConfigError, DataError, EvaluationError
from marscf.files import seed_from
from marscf.models.base import FlowModel
from marscf.studies.interpolation import Units

REFERENCE = 256  # validation images that the units are taken from


def choose_pairs(dataset: str, split: str, count: int) -> np.ndarray:
    """Return `count` pairs of different images of a split, indices `(count,2)`, the same for every system.

    Drawn by a seed of the dataset's name, without replacement; of two classes each where the classes are
    known. Raises `ConfigError` where the split is too small.
    """
    try:
        classes = np.asarray(open_labels(dataset, split))
    except DataError:
        classes = np.arange(len(open_split(dataset, split)))  # each image a class of its own
    order = list(np.random.default_rng(seed_from("interpolation", dataset)).permutation(len(classes)))
    pairs: list[tuple[int, int]] = []
    while len(pairs) < count:
        first = order.pop() if order else -1
        second = next((i for i in reversed(order) if classes[i] != classes[first]), None)
        if second is None:
            raise ConfigError(
                f"interpolation: the {len(classes)} {split} images of {dataset} make only {len(pairs)} pairs "
                f"of two classes, {count} are asked for; lower the pairs of studies.interpolation"
            )
        order.remove(second)
        pairs.append((first, second))
    return np.array(pairs)


@torch.no_grad()
def exact_latents(model: FlowModel, images: Tensor) -> tuple[FlowModel, list[Tensor]]:
    """Return a model and the images' latents in a precision in which decoding gives the images back.

    Float32, or else float64. Raises `EvaluationError` where neither does.
    """
    for _ in range(2):
        latents = model.encode(images)
        wrong = (model.to_discrete(model.decode(latents)) != images).flatten(1).any(1)
        if not wrong.any():
            return model, latents
        model = copy.deepcopy(model).double()  # the next images begin in float32 again
    raise EvaluationError(
        f"interpolation: {int(wrong.sum())} of {len(images)} images do not come back from their latents, "
        "not even in float64: this flow's inverse is not exact enough"
    )


@torch.no_grad()
def measure_units(model: FlowModel, dataset: str, batch_size: int, count: int = REFERENCE) -> Units:
    """Return the standard deviations of validation images' latents, one per level, and of their pixels."""
    images = torch.from_numpy(np.array(open_split(dataset, "val")[:count])).to(model.device)
    levels = zip(*(model.encode(batch) for batch in images.split(batch_size)), strict=True)
    latents = [torch.cat(level).double().std().item() for level in levels]
    return Units(latents, model.to_continuous(images).double().std().item())
