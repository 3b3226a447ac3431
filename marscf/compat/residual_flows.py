"""Checkpoints of github.com/rtqichen/residual-flows (Chen et al., arXiv 1906.02735), as it evaluates them.

A file is a dict: `args`, `state_dict`, and `ema` with the averaged parameters, which are evaluated. The
norm of each layer is the one that the stored singular vectors show. It is not converged, and belongs to the
averaged parameters.
"""

import re
from collections.abc import Iterator, Mapping
from typing import Any

import torch
from torch import Tensor

from marscf.compat.code import Found, OwnProtocol, plain
from marscf.compat.tensors import Tensors
from marscf.compat.torch_file import TorchFile
from marscf.compat.torch_pickle import Inert
from marscf.errors import CheckpointError
from marscf.flows.actnorm import ActNorm
from marscf.flows.log_det import Poisson
from marscf.flows.residual import ResidualBlock
from marscf.models.base import DensityModel, FlowModel
from marscf.models.residual_flow import ResidualFlow
from marscf.settings import RunConfig

#: Their dataset and its side → ours, channels, margin of the logit.
DATASETS = {
    ("mnist", 28): ("mnist-28", 1, 1e-6),
    ("cifar10", 32): ("cifar10", 3, 0.05),
    ("imagenet32", 32): ("imagenet32", 3, 0.05),
}
#: What `args` must say, where they say it: other values are models that ours is not.
REQUIRED = {
    "task": "density",
    "block": "resblock",
    "vnorms": "2222",
    "learn_p": False,
    "act": "swish",
    "actnorm": True,
    "fc_actnorm": False,
    "batchnorm": False,
    "dropout": 0.0,
    "fc": False,
    "kernels": "3-1-3",
    "quadratic": False,
    "preact": True,
    "first_resblock": True,
    "factor_out": False,
    "squeeze_first": False,
    "padding": 0,
    "nbits": 8,
    "logit_transform": True,
}
CLOSING_BLOCKS = 4  # fully connected, where `fc_end` is set
LEAST_SIDE = 4  # images are not squeezed further
POISSON_RATE = 2.0  # of the number of terms in evaluation; `lamb`, which no training moves
#: Buffers without effect on what is evaluated.
UNUSED = (
    "geom_p",
    "lamb",
    "last_n_samples",
    "last_firmom",
    "last_secmom",
    "initialized",
    "scale",
    "spatial_dims",
)


def infer(file: TorchFile, name: str, hparams: Mapping[str, Any]) -> Found:
    """Return what run a checkpoint is; raises `CheckpointError` for a model that ours is not."""
    content = file.content
    args = content.get("args") if isinstance(content, dict) else None
    if isinstance(args, Inert):
        args = vars(args)
    if not isinstance(args, dict) or not isinstance(content.get("ema"), Inert):
        raise CheckpointError(f"{file.path}: no args and ema in it; is it a checkpoint of residual-flows?")
    for name, needed in REQUIRED.items():
        if name in args and args[name] != needed:
            raise CheckpointError(
                f"{file.path}: its args.{name} is {plain(args[name])}; {needed!r} alone is supported"
            )
    data, side = args.get("data"), args.get("imagesize", 32)
    if type(data) is not str or type(side) is not int or (data, side) not in DATASETS:
        known = ", ".join(f"{name} {size}×{size}" for name, size in DATASETS)
        raise CheckpointError(
            f"{file.path}: its args.data {plain(data)} and args.imagesize {plain(side)} are none of {known}"
        )
    dataset, channels, margin = DATASETS[data, side]
    for name, kind in (("nblocks", str), ("idim", int), ("fc_idim", int), ("coeff", float)):
        if type(args.get(name)) is not kind:
            raise CheckpointError(f"{file.path}: its args.{name} is no {kind.__name__}")
    if not re.fullmatch(r"[0-9]{1,4}(-[0-9]{1,4}){0,9}", args["nblocks"]):
        raise CheckpointError(f"{file.path}: its args.nblocks {plain(args['nblocks'])} is no list of numbers")
    blocks = [int(number) for number in args["nblocks"].split("-")]
    sizes = {name: args[name] for name in ("idim", "fc_idim")}
    if type(args.get("fc_end", True)) is not bool:
        raise CheckpointError(f"{file.path}: its args.fc_end is neither True nor False")
    lipschitz = args["coeff"]
    levels = 1
    while levels < len(blocks) and side >> levels >= LEAST_SIDE and not side % (1 << levels):
        levels += 1
    tensors = Tensors.of(file, content.get("state_dict"), "state_dict")
    if not 0 < lipschitz < 1 or min(*blocks, *sizes.values()) < 1 or sum(blocks) > len(tensors.state):
        raise CheckpointError(f"{file.path}: its args have nblocks, idim, fc_idim or coeff out of range")
    return Found(
        dataset=dataset,
        system="residual-flow",
        model="residual_flow.ResidualFlow",
        shape=(channels, side, side),
        options={
            "levels": levels - 1,
            "blocks": blocks[:levels],
            "channels": sizes["idim"],
            "fc_blocks": CLOSING_BLOCKS if args.get("fc_end", True) else 0,
            "fc_channels": sizes["fc_idim"],
            "lipschitz": lipschitz,
            "logit_margin": margin,
            "store_norms": True,
        },
    )


def _their_layers(blocks: list[int], closing: int) -> Iterator[tuple[str, str]]:
    """Kind and name of their layers with parameters, in order, beginning with the first ActNorm."""
    yield "norm", "transforms.0.chain.1."
    for scale, number in enumerate(blocks):
        place = 0 if scale else 2  # after the logit and the first ActNorm
        for _ in range(number):
            yield "block", f"transforms.{scale}.chain.{place}."
            yield "norm", f"transforms.{scale}.chain.{place + 1}."
            place += 2
    for index in range(closing):  # the last scale ends without a squeeze
        yield "closing", f"transforms.{scale}.chain.{place + 2 * index}.nnet."
        yield "norm", f"transforms.{scale}.chain.{place + 2 * index + 1}.fc_module."


def weights(file: TorchFile, model: FlowModel, options: Mapping[str, Any]) -> dict[str, Tensor]:
    """Return the weights of our model, built with `options`; its own tensors give the shapes."""
    averaged = getattr(file.content["ema"], "shadow_params", None)
    parameters = Tensors.of(file, averaged, "ema.shadow_params")
    buffers = Tensors.of(file, file.content.get("state_dict"), "state_dict")
    parameters.ignore(*UNUSED)
    buffers.ignore(*UNUSED)
    buffers.left -= parameters.state.keys()
    ours = [
        (name, layer) for name, layer in model.named_modules() if isinstance(layer, (ActNorm, ResidualBlock))
    ]
    theirs = list(_their_layers(options["blocks"], options["fc_blocks"]))
    found: dict[str, Tensor] = {}
    for (name, layer), (kind, prefix) in zip(ours, theirs, strict=True):
        if isinstance(layer, ActNorm):
            found |= _norm(parameters, name, layer, prefix, kind)
        else:
            found |= _block(parameters, buffers, name, layer, prefix)
    parameters.finish()
    buffers.finish()
    return found


def _norm(parameters: Tensors, name: str, layer: ActNorm, prefix: str, kind: str) -> dict[str, Tensor]:
    """An ActNorm. Theirs stands before the squeeze, ours after it, where each channel is four."""
    found: dict[str, Tensor] = {f"{name}.initialised": torch.tensor(True)}
    for own, their in (("bias", "bias"), ("log_scale", "weight")):
        shape = getattr(layer, own).shape
        (count,) = parameters.shape(prefix + their)[:1] or (0,)
        value = parameters.take(prefix + their, (shape.numel() // (4 if 4 * count == shape.numel() else 1),))
        found[f"{name}.{own}"] = value.repeat_interleave(shape.numel() // len(value)).view(shape)
    return found


def _block(
    parameters: Tensors, buffers: Tensors, name: str, layer: ResidualBlock, prefix: str
) -> dict[str, Tensor]:
    """A residual block: activations and convolutions in turn, the first activation not at the very start."""
    net = layer.net
    first = int(net.activate_first)
    found = {
        f"{name}.net.raw_betas": torch.cat(
            [
                parameters.take(f"{prefix}nnet.{2 * k + (1 - first)}.beta", (1,))
                for k in range(len(net.raw_betas))
            ]
        )
    }
    for k, conv in enumerate(net.convs):
        their = f"{prefix}nnet.{2 * k + first}."
        shape = conv.weight.shape
        given = parameters.shape(f"{their}weight")
        weight = parameters.take(f"{their}weight", shape[:2] if len(given) == 2 else shape).view(shape)
        size = conv.vector.shape[1:]
        v = buffers.take(f"{their}v", (size.numel(),))
        u = buffers.take(f"{their}u", (shape[0] * size[1] * size[2],))
        target = f"{name}.net.convs.{k}."
        found |= {
            f"{target}weight": weight,
            f"{target}bias": parameters.take(f"{their}bias", shape[:1]),
            f"{target}vector": v.view(1, *size),
            f"{target}left_vector": u.view(1, shape[0], *size[1:]),
        }
    return found


def own_protocol(config: RunConfig) -> OwnProtocol:
    """How their `validate` scores: one estimate of the log-determinant, with their own random numbers."""
    return OwnProtocol(
        "one normal probe, and a Poisson number of terms beyond the exact ones", prepare=_as_published
    )


def _as_published(model: DensityModel) -> None:
    assert isinstance(model, ResidualFlow)
    model.law, model.normal_probes = Poisson(POISSON_RATE), True
