"""Checkpoints of github.com/visinf/mar-scf, the authors' public code.

A file is named `marscf_<dataset>_<coupling>_<K>_<C>.pt` and holds one state dict. What else is to be known
of the model is in the shapes of its tensors.
"""

import re
from collections.abc import Iterable, Mapping
from typing import Any

import torch
from torch import Tensor

from marscf.compat.code import Found, OwnProtocol
from marscf.compat.tensors import Tensors
from marscf.compat.torch_file import TorchFile
from marscf.errors import CheckpointError, nearest
from marscf.models.base import DensityModel, FlowModel
from marscf.settings import RunConfig

#: Their dataset's name → ours, and the shape of its images. Their MNIST is stacked to three channels.
DATASETS = {
    "mnist": ("mnist-rgb", (3, 32, 32)),
    "cifar10": ("cifar10", (3, 32, 32)),
    "imagenet_32": ("imagenet32", (3, 32, 32)),
    "imagenet_64": ("imagenet64", (3, 64, 64)),
}
NAME = re.compile(r"marscf_(.+)_(affine|mixlogcdf)_(\d{1,4})_(\d{1,5})(?:\.pt)?")
HEADS = 4  # fixed in their code, and not to be seen in the weights

#: Our names → theirs, tried in turn on what follows the level or the step.
_RENAMES = [
    (r"actnorm\.", "actnormlayer."),
    (r"conv1x1\.lower", "invert_1x1_layer.l"),
    (r"conv1x1\.upper", "invert_1x1_layer.u"),
    (r"conv1x1\.permutation", "invert_1x1_layer.p"),
    (r"conv1x1\.", "invert_1x1_layer."),
    (r"coupling\.net\.first\.", "coupling.NN_net.conv1."),
    (r"coupling\.net\.second\.", "coupling.NN_net.conv2."),
    (r"coupling\.net\.last\.", "coupling.NN_net.conv3."),
    (r"coupling\.net\.entry\.", "coupling.nn.in_conv.conv."),
    (r"coupling\.net\.exit\.", "coupling.nn.out_conv.conv."),
    (r"coupling\.net\.blocks\.(\d+)\.conv\.(conv|gate)\.", r"coupling.nn.mid_convs.\1.conv.\2.conv."),
    (r"coupling\.net\.blocks\.(\d+)\.attention\.project\.", r"coupling.nn.mid_convs.\1.attn.in_proj."),
    (r"coupling\.net\.blocks\.(\d+)\.attention\.gate\.", r"coupling.nn.mid_convs.\1.attn.gate."),
    (r"coupling\.net\.blocks\.(\d+)\.conv_norm\.", r"coupling.nn.mid_convs.\1.norm_1."),
    (r"coupling\.net\.blocks\.(\d+)\.attention_norm\.", r"coupling.nn.mid_convs.\1.norm_2."),
    (r"coupling\.rescale", "coupling.nn.rescale."),
    (r"context_net\.", "z1_cond_network."),
    (r"embed\.", "prior_lstm.conv_embed."),
    (r"moments\.", "prior_lstm.conv_out1."),
    (r"lstm\.input_weights\.(\d+)", r"prior_lstm.lstm.weight_ih_l\1"),
    (r"lstm\.hidden_weights\.(\d+)", r"prior_lstm.lstm.weight_hh_l\1"),
    (r"lstm\.biases\.(\d+)", r"prior_lstm.lstm.bias_*h_l\1"),
]
_ENDINGS = [
    (r"norm\.(bias|log_scale|initialised)$", r"actnorm.\1"),
    (r"log_scale$", "logs"),
    (r"initialised$", "is_initialized"),
    (r"direction$", "weight_v"),
    (r"gain$", "weight_g"),
]


def infer(file: TorchFile, name: str, hparams: Mapping[str, Any]) -> Found:
    """Return what run a checkpoint is, by its file's name and its tensors; raises where the two disagree."""
    match = NAME.fullmatch(name)
    if not match:
        raise CheckpointError(
            f"{name[:200]}: the name must be marscf_<dataset>_<coupling>_<K>_<C>.pt; "
            "rename the file, or give its old name with --name"
        )
    their_dataset, coupling, steps, channels = match[1], match[2], int(match[3]), int(match[4])
    if their_dataset not in DATASETS:
        known = nearest(their_dataset, DATASETS)
        raise CheckpointError(f"{file.path}: unknown dataset {their_dataset!r}{known}")
    dataset, shape = DATASETS[their_dataset]
    return Found(
        dataset=dataset,
        system=f"marscf-{coupling}",
        model="multiscale_flow.MultiScaleFlow",
        shape=shape,
        options=_options(Tensors.of(file, file.content, "it"), coupling, steps, channels),
    )


def _options(tensors: Tensors, coupling: str, steps: int, channels: int) -> dict[str, Any]:
    """The model's options, from the tensors' shapes; `steps` and `channels` are those of the file's name."""

    def size_of(key: str, dimensions: int, multiple: int = 1) -> int:
        """The first side of a tensor that says how large the model is, over what it is a multiple of."""
        if key not in tensors.state:
            raise CheckpointError(f"{path}: no tensor {key!r}; is it a {coupling} checkpoint of their code?")
        shape = tensors.shape(key)
        if len(shape) != dimensions or not shape[0] or shape[0] % multiple:
            raise CheckpointError(f"{path}: {key!r} has shape {tuple(shape)}, which no size of model gives")
        return shape[0] // multiple

    path = tensors.file.path
    levels = _levels(tensors, steps)
    first = f"flow.layers.{_layer(steps, 0, 0)}.coupling"
    lstm = "flow.c_prior.prior_list.0.prior_lstm.lstm."
    entry, dimensions = ("NN_net.conv1.weight", 4) if coupling == "affine" else ("nn.in_conv.conv.bias", 1)
    if (hidden := size_of(f"{first}.{entry}", dimensions)) != channels:
        raise CheckpointError(f"{path}: its name says {channels} channels, its tensors {hidden}")
    options = {
        "coupling": coupling,
        "prior": "mar",
        "levels": levels,
        "steps": steps,
        "channels": channels,
        "lstm_channels": size_of(f"{lstm}weight_hh_l0", 4, multiple=4),
        "lstm_layers": len(_indices(tensors.state, re.escape(lstm) + r"weight_ih_l(\d{1,5})")),
        "pixel_scaling": "official",
    }
    if coupling == "mixlogcdf":
        half = size_of(f"{first}.nn.rescale.weight_g", 3)
        outputs = size_of(f"{first}.nn.out_conv.conv.bias", 1, multiple=half)  # 2 + 3 per component
        options["components"] = max(1, (outputs - 2) // 3)
        options["blocks"] = len(_indices(tensors.state, re.escape(first) + r"\.nn\.mid_convs\.(\d{1,5})\."))
        options["heads"] = HEADS
    return options


def _levels(tensors: Tensors, steps: int) -> int:
    """How many levels there are, each with `steps` steps where their code has them."""
    path = tensors.file.path
    levels = len(_indices(tensors.state, r"flow\.c_prior\.prior_list\.(\d{1,5})\."))
    found = _indices(tensors.state, r"flow\.layers\.(\d{1,5})\.")
    if levels == 0:
        raise CheckpointError(
            f"{path}: no tensor 'flow.c_prior.prior_list.0…'; is it a checkpoint of their code?"
        )
    if len(found) != levels * steps:
        raise CheckpointError(
            f"{path}: its name says {steps} steps per level, its tensors make {len(found)} in {levels} levels"
        )
    if missing := {_layer(steps, level, k) for level in range(levels) for k in range(steps)} - found:
        raise CheckpointError(f"{path}: no tensor 'flow.layers.{min(missing)}'; its steps stand elsewhere")
    return levels


def _indices(names: Iterable[str], pattern: str) -> set[int]:
    return {int(found[1]) for name in names if (found := re.match(pattern, name))}


def _layer(steps: int, level: int, step: int) -> int:
    """Index of a flow step among their layers: a level is a squeeze, its steps and a split."""
    return level * (steps + 2) + 1 + step


def _their_name(name: str, steps: int) -> str:
    kind, level, rest = name.split(".", 2)
    if kind == "levels":
        step, rest = rest.split(".", 1)
        prefix = f"flow.layers.{_layer(steps, int(level), int(step))}."
    else:
        prefix = f"flow.c_prior.prior_list.{level}."
    for pattern, replacement in _RENAMES:
        rest, changed = re.subn("^" + pattern, replacement, rest)
        if changed:
            break
    for pattern, replacement in _ENDINGS:
        rest = re.sub(pattern, replacement, rest)
    return prefix + rest


def _convert(reader: Tensors, ours: str, theirs: str, shape: tuple[int, ...]) -> Tensor:
    """Return the tensor that `ours` is made of."""
    if theirs.endswith("rescale."):
        gain, direction = reader.take(f"{theirs}weight_g", shape), reader.take(f"{theirs}weight_v", shape)
        return gain * direction.sign()  # weight norm of one number per channel
    if "bias_*h" in theirs:
        return reader.take(theirs.replace("*", "i"), shape) + reader.take(theirs.replace("*", "h"), shape)
    if theirs.endswith("is_initialized"):
        if reader.take(theirs, (1,), flag=True)[0] == 0:
            raise CheckpointError(f"{reader.file.path}: {theirs!r} says that it was never trained")
        return torch.tensor(True)
    if "actnorm" in theirs:
        return reader.take(theirs, (1, *shape))[0]
    if ours.endswith("permutation"):
        return reader.permutation(theirs, shape)
    if ours.endswith("sign_s"):
        return reader.signs(theirs, shape)
    return reader.take(theirs, shape)


def weights(file: TorchFile, model: FlowModel, options: Mapping[str, Any]) -> dict[str, Tensor]:
    """Return the weights of our model, built with `options`; its own tensors give the shapes."""
    tensors = Tensors.of(file, file.content, "it")
    found = {
        name: _convert(tensors, name, _their_name(name, options["steps"]), tuple(tensor.shape))
        for name, tensor in model.state_dict().items()
    }
    # Their last level has a context network too, and never uses it.
    last = f"flow.c_prior.prior_list.{options['levels'] - 1}.z1_cond_network."
    width = model.latent_shapes[-1][0]
    for name, shape in (
        ("0.weight", (32, width, 5, 5)),
        ("0.bias", (32,)),
        ("2.weight", (4, 32, 5, 5)),
        ("2.bias", (4,)),
    ):
        tensors.take(last + name, shape)
    tensors.finish()
    return found


def own_protocol(config: RunConfig) -> OwnProtocol:
    """How their `test_model` scores: always in training mode, and their loader drops the last batch."""
    if config.system == "marscf-affine":  # the batch sizes are what their README recommends
        return OwnProtocol("no dropout in this model", 128)
    return OwnProtocol("dropout on", 64, DensityModel.train)
