"""Checkpoints of github.com/y0ast/Glow-PyTorch: Glow (Kingma and Dhariwal, arXiv 1807.03039) on CIFAR-10.

A file is one state dict, or a dict with it under "model". Sizes are those of its tensors. `hparams.json`,
where it is at hand, must agree with them. It is needed where channels are reversed between steps, for then
no tensor says so.
"""

import re
from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor

from marscf.compat.code import Found, plain
from marscf.compat.tensors import Tensors
from marscf.compat.torch_file import TorchFile
from marscf.compat.torch_pickle import StoredTensor
from marscf.errors import CheckpointError
from marscf.models.base import FlowModel

#: What `hparams.json` may say.
SUPPORTED = {
    "flow_coupling": ("affine", "additive"),
    "flow_permutation": ("invconv", "reverse"),
    "y_condition": (False,),
    "dataset": ("cifar10",),
}
MOST_LEVELS = 10
OPEN = 1000.0  # what makes the sigmoid of a scale 1
#: Our names → theirs, of what follows the level and the step.
RENAMED = {
    "actnorm.bias": "actnorm.bias",
    "actnorm.log_scale": "actnorm.logs",
    "coupling.net.first.weight": "block.0.conv.weight",
    "coupling.net.first.norm.bias": "block.0.actnorm.bias",
    "coupling.net.first.norm.log_scale": "block.0.actnorm.logs",
    "coupling.net.second.weight": "block.2.conv.weight",
    "coupling.net.second.norm.bias": "block.2.actnorm.bias",
    "coupling.net.second.norm.log_scale": "block.2.actnorm.logs",
    "coupling.net.last.weight": "block.4.conv.weight",
    "coupling.net.last.bias": "block.4.conv.bias",
    "coupling.net.last.log_scale": "block.4.logs",
    "net.weight": "conv.conv.weight",
    "net.bias": "conv.conv.bias",
    "net.log_scale": "conv.logs",
}


def infer(file: TorchFile, name: str, hparams: Mapping[str, Any]) -> Found:
    """Return what run a checkpoint is; raises `CheckpointError` for a model that ours is not."""
    for key, known in SUPPORTED.items():
        if key in hparams and hparams[key] not in known:
            words = " or ".join(map(repr, known))
            raise CheckpointError(
                f"{file.path}: its {key} is {plain(hparams[key])}; only {words} is supported"
            )
    tensors = _tensors(file)
    if labelled := [key for key in tensors.state if key.startswith("project_")]:
        raise CheckpointError(f"{file.path}: it has {min(labelled)[:100]!r}: y_condition is not supported")
    top = tensors.shape("prior_h")
    if len(top) != 4 or top[2] != top[3] or top[1] % 2:
        raise CheckpointError(f"{file.path}: 'prior_h' has shape {top}, which no Glow gives")
    layers = sorted(
        {int(found[1]) for key in tensors.state if (found := re.match(r"flow\.layers\.(\d{1,5})\.", key))}
    )
    steps = next((k for k, layer in enumerate(layers) if layer != k + 1), len(layers))
    if not steps:
        raise CheckpointError(f"{file.path}: no tensor 'flow.layers.1…'; is it a checkpoint of Glow-PyTorch?")
    splits = [layer for layer in layers if f"flow.layers.{layer}.conv.conv.weight" in tensors.state]
    if splits and splits[0] == steps:  # the first split follows the steps at once
        steps -= 1
    levels = len(splits) + 1
    if levels > MOST_LEVELS:
        raise CheckpointError(f"{file.path}: its tensors claim {levels} levels, which no model has")
    features, side = top[1] // 2, top[2] << levels
    channels = features >> (levels + 1)
    hidden = tensors.shape("flow.layers.1.block.0.conv.weight")[:1]
    if not hidden:
        raise CheckpointError(f"{file.path}: 'flow.layers.1.block.0.conv.weight' is no convolution")
    says: dict[str, Any] = {
        "K": steps,
        "L": levels,
        "hidden_channels": hidden[0],
        "flow_coupling": "additive" if _additive(tensors, channels) else "affine",
        "learn_top": "learn_top_fn.conv.bias" in tensors.state,
    }
    if _mixes(tensors):
        says["flow_permutation"] = "invconv"
        says["LU_decomposed"] = "flow.layers.1.invconv.weight" not in tensors.state
    elif "flow_permutation" not in hparams:
        raise CheckpointError(
            f"{file.path}: no tensor says how its channels are permuted; give --hparams hparams.json"
        )
    for key, value in says.items():
        if type(hparams.get(key, value)) is not type(value) or hparams.get(key, value) != value:
            raise CheckpointError(
                f"{file.path}: hparams.json says {key} {plain(hparams[key])}, the tensors {value}"
            )
    if (channels, side) != (3, 32):
        raise CheckpointError(
            f"{file.path}: it is of images {channels}×{side}×{side}, CIFAR-10's are 3×32×32"
        )
    return Found(
        dataset="cifar10",
        system="glow",
        model="multiscale_flow.MultiScaleFlow",
        shape=(channels, side, side),
        options={
            "coupling": "affine",
            "prior": "gaussian",
            "levels": levels,
            "steps": steps,
            "channels": hidden[0],
            "shift_first": True,
        },
    )


def weights(file: TorchFile, model: FlowModel, options: Mapping[str, Any]) -> dict[str, Tensor]:
    """Return the weights of our model, built with `options`; its own tensors give the shapes."""
    tensors = _tensors(file)
    if tensors.take("prior_h", tensors.shape("prior_h")).any():
        raise CheckpointError(f"{file.path}: 'prior_h' is not zero")
    steps: int = options["steps"]
    additive = _additive(tensors, model.shape[0])
    shapes = {name: tuple(tensor.shape) for name, tensor in model.state_dict().items()}
    found: dict[str, Tensor] = {}
    for name, shape in shapes.items():
        kind, level, rest = name.split(".", 2)
        place = int(level) * (steps + 2) + 1  # a level is a squeeze, its steps and a split
        if kind == "levels":
            step, rest = rest.split(".", 1)
            theirs = f"flow.layers.{place + int(step)}."
        else:
            theirs = f"flow.layers.{place + steps}."
        if additive and rest.startswith("coupling.net.last."):
            found[name] = _shift_alone(tensors, theirs + RENAMED[rest], shape)
        elif rest in RENAMED:
            found[name] = _value(tensors, theirs + RENAMED[rest], shape)
        elif rest.endswith("initialised"):
            found[name] = torch.tensor(True)
        elif rest == "constants":
            found[name] = _top(tensors, shape)
        elif rest == "conv1x1.lower":  # the first of the five tensors of an invertible convolution
            prefix = name.removesuffix("lower")
            found |= {
                prefix + own: value for own, value in _conv1x1(tensors, f"{theirs}invconv.", shape).items()
            }
    tensors.finish()
    return found


def _tensors(file: TorchFile) -> Tensors:
    content = file.content
    if isinstance(content, dict) and "model" in content and not isinstance(content["model"], StoredTensor):
        content = content["model"]
    return Tensors.of(file, content, "it")


def _value(tensors: Tensors, name: str, shape: tuple[int, ...]) -> Tensor:
    """A tensor; those of an ActNorm have a batch axis."""
    if "actnorm" in name:
        return tensors.take(name, (1, *shape))[0]
    return tensors.take(name, shape)


def _additive(tensors: Tensors, channels: int) -> bool:
    """Whether the couplings have no scale: the first one's network then has half of the outputs."""
    return tensors.shape("flow.layers.1.block.4.conv.bias") == (2 * channels,)


def _mixes(tensors: Tensors) -> bool:
    """Whether 1×1 convolutions mix the channels; if not, steps only permute them."""
    return any(".invconv." in key for key in tensors.state)


def _shift_alone(tensors: Tensors, name: str, shape: tuple[int, ...]) -> Tensor:
    """A tensor of the last layer of an additive coupling, as of an affine one whose scale is exactly 1."""
    value = torch.zeros(shape)
    value[0::2] = tensors.take(name, (shape[0] // 2, *shape[1:]))
    if name.endswith("bias"):
        value[1::2] = OPEN
    return value


def _top(tensors: Tensors, shape: tuple[int, ...]) -> Tensor:
    """The last level's moments: their convolution of zeros gives its scaled bias, means before log-scales."""
    moments = torch.zeros(shape)
    if "learn_top_fn.conv.bias" not in tensors.state:
        return moments
    count = shape[1]
    bias = tensors.take("learn_top_fn.conv.bias", (count,))
    value = bias * torch.exp(3 * tensors.take("learn_top_fn.logs", (count, 1, 1)).flatten())
    tensors.take("learn_top_fn.conv.weight", (count, count, 3, 3))
    moments[0, 0::2, 0, 0], moments[0, 1::2, 0, 0] = value.chunk(2)
    return moments


def _conv1x1(tensors: Tensors, prefix: str, shape: tuple[int, ...]) -> dict[str, Tensor]:
    """The factors of an invertible 1×1 convolution, of the plain matrix in its place, or of a reversal."""
    if not _mixes(tensors):
        start = torch.zeros(shape)
        reversal = torch.eye(shape[0]).flip(0)
        ones = torch.ones(shape[0])
        return {"lower": start, "upper": start, "log_s": 0 * ones, "sign_s": ones, "permutation": reversal}
    if f"{prefix}weight" in tensors.state:
        matrix = tensors.take(f"{prefix}weight", shape).double()
        permutation, lower, upper = torch.linalg.lu(matrix)
        diagonal = upper.diagonal()
        if not (diagonal != 0).all():
            raise CheckpointError(f"{tensors.file.path}: '{prefix}weight' is singular")
        factors = {
            "lower": lower.tril(-1),
            "upper": upper.triu(1),
            "log_s": diagonal.abs().log(),
            "sign_s": diagonal.sign(),
            "permutation": permutation,
        }
        return {name: value.float() for name, value in factors.items()}
    side = shape[:1]
    return {
        "lower": tensors.take(f"{prefix}lower", shape).tril(-1),  # their diagonal counts for nothing
        "upper": tensors.take(f"{prefix}upper", shape).triu(1),
        "log_s": tensors.take(f"{prefix}log_s", side),
        "sign_s": tensors.signs(f"{prefix}sign_s", side),
        "permutation": tensors.permutation(f"{prefix}p", shape),
    }
