"""Checkpoints of other codes, made into runs.

Nothing in a file is run. Every name and shape is checked before our model takes any memory, and what does not
fit is named.
"""

import json
import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from marscf.compat import glow_pytorch, mar_scf, residual_flows
from marscf.compat.code import Foreign, Found, OwnProtocol
from marscf.compat.torch_file import TorchFile
from marscf.errors import CheckpointError, MarscfError, nearest
from marscf.files import open_regular, read_json, sha256_file, write_json
from marscf.models import WEIGHTS, build, save
from marscf.models.base import FlowModel
from marscf.runs import CONFIG, RECEIPT, config_hash, own_config, run_config, signed
from marscf.settings import RunConfig

SCALE = "published"
LARGEST_HPARAMS = 1 << 20  # bytes
LARGEST_SIZE = 1 << 16  # of a model's option; published ones are below 1000
LARGEST_DEPTH = 3000  # product of the options that are numbers of layers; published ones are below 500
DEPTHS = ("steps", "blocks", "lstm_layers")
LARGEST_MODEL = 400_000_000  # numbers; the largest published one has about 250 million


@dataclass(frozen=True)
class Code:
    """What is known of a public code.

    Which run a file is, the weights of our model of that run, and how the code evaluates it, where not as we
    do.
    """

    infer: Callable[[TorchFile, str, Mapping[str, Any]], Found]
    weights: Callable[[TorchFile, FlowModel, Mapping[str, Any]], dict[str, Tensor]]
    own_protocol: Callable[[RunConfig], OwnProtocol] | None = None


CODES = {
    "mar-scf": Code(mar_scf.infer, mar_scf.weights, mar_scf.own_protocol),
    "residual-flows": Code(residual_flows.infer, residual_flows.weights, residual_flows.own_protocol),
    "glow-pytorch": Code(glow_pytorch.infer, glow_pytorch.weights),
}


def read_checkpoint(foreign: Foreign) -> tuple[FlowModel, RunConfig]:
    """Return the model of a checkpoint, in eval mode, and its run config.

    Raises `CheckpointError` naming the first thing that is missing, has another shape, is not finite, or is
    not known.
    """
    with TorchFile(foreign.path) as file:
        config = _infer(file, foreign)
        outline = _outline(file, config)
        weights = CODES[foreign.code].weights(file, outline, config.options)
    if missing := outline.state_dict().keys() - weights.keys():
        raise CheckpointError(f"{foreign.path}: nothing in it gives our {min(missing)!r}")
    for name, tensor in weights.items():
        if not torch.isfinite(tensor).all():
            raise CheckpointError(f"{foreign.path}: our {name!r} would not be finite")
    model = build(config)
    assert isinstance(model, FlowModel)
    model.load_state_dict(weights)
    return model.eval(), config


def inspect(foreign: Foreign) -> RunConfig:
    """Return the run config of a checkpoint, from its name, shapes and hyper-parameters alone."""
    with TorchFile(foreign.path) as file:
        return _infer(file, foreign)


def _infer(file: TorchFile, foreign: Foreign) -> RunConfig:
    if foreign.code not in CODES:
        raise CheckpointError(f"unknown code {foreign.code!r}{nearest(foreign.code, CODES)}")
    found = CODES[foreign.code].infer(file, foreign.published_name, _read_hparams(foreign.hparams))
    _check_sizes(file.path, found.options)
    return _config(found, foreign.seed)


def _outline(file: TorchFile, config: RunConfig) -> FlowModel:
    """Our model without memory for its weights; raises `CheckpointError` where the file cannot hold them."""
    try:
        with torch.device("meta"):
            outline = build(config)
    except MarscfError as error:  # options that the model does not allow
        raise CheckpointError(f"{file.path}: {error}") from None
    assert isinstance(outline, FlowModel)
    numbers = sum(tensor.numel() for tensor in outline.state_dict().values())
    if numbers > LARGEST_MODEL or numbers > 2 * file.length:  # a number takes at least two bytes
        raise CheckpointError(
            f"{file.path}: its shapes are those of a model of {numbers:,} numbers, which it can't hold"
        )
    return outline


def _check_sizes(path: Path, options: Mapping[str, Any]) -> None:
    """Raise `CheckpointError` for sizes that no model has: a file's shapes can claim anything."""
    for name, value in options.items():
        for number in value if isinstance(value, list) else [value]:
            if isinstance(number, int) and number > LARGEST_SIZE:
                raise CheckpointError(f"{path}: it claims {name} {number}, which no model has")
    depth = 1 + options["levels"]
    for value in (options.get(name, 1) for name in DEPTHS):
        depth *= sum(value) if isinstance(value, list) else value
    if depth > LARGEST_DEPTH:
        raise CheckpointError(f"{path}: it claims more layers than any model has")


def _config(found: Found, seed: int) -> RunConfig:
    return RunConfig.from_json(
        {
            "scale": SCALE,
            "dataset": found.dataset,
            "system": found.system,
            "seed": seed,
            "model": found.model,
            "options": found.options,
            "data": {
                "shape": found.shape,
                "grey_levels": 256,
                "dims": math.prod(found.shape),
                "augment": "none",
            },
        }
    )


def _read_hparams(path: Path | None) -> Mapping[str, Any]:
    if path is None:
        return {}
    try:
        with open_regular(path, LARGEST_HPARAMS) as stream:
            hparams = json.loads(stream.read())
    except OSError as error:
        raise CheckpointError(f"cannot read {path}: {error.strerror}") from None
    except (ValueError, RecursionError) as error:
        raise CheckpointError(f"{path} is no JSON: {' '.join(str(error).split())[:200]}") from None
    if not isinstance(hparams, dict):
        raise CheckpointError(f"{path}: its hyper-parameters are no JSON object")
    return hparams


def own_protocol(folder: str | Path) -> OwnProtocol | None:
    """Return how the code that a run was imported from evaluates it; None where it does so as we do."""
    receipt = Path(folder) / RECEIPT
    code = CODES.get(read_json(receipt).get("imported_code", "")) if receipt.is_file() else None
    return code.own_protocol(run_config(folder)) if code and code.own_protocol else None


def import_checkpoint(foreign: Foreign, out: str | Path, again: bool = False) -> dict[str, Any]:
    """Write a checkpoint as a run into the folder `out` and return its receipt.

    Leaves `config.json`, `weights.safetensors` and `receipt.json`. Raises `CheckpointError` as
    `read_checkpoint`, and where the folder holds a run already, unless it may be written `again`.
    """
    out = Path(out)
    model, config = read_checkpoint(foreign)
    begun = not (out / RECEIPT).exists() and own_config(out) == config  # by a call that did not end
    if not (again or begun) and ((out / WEIGHTS).exists() or (out / RECEIPT).exists()):
        raise CheckpointError(f"{out} holds a run already; choose another folder, or delete it")
    write_json(out / CONFIG, config.to_json())
    save(model, config, out / WEIGHTS)
    receipt: dict[str, Any] = {
        "config_hash": config_hash(config),
        "config": config.to_json(),
        "data_digest": None,
        "weights_sha256": sha256_file(out / WEIGHTS),
        "steps": None,
        "parameters": sum(p.numel() for p in model.parameters()),
        "imported_from": foreign.published_name,
        "imported_sha256": sha256_file(foreign.path),
        "imported_code": foreign.code,
        "events": [],
    }
    receipt = signed(receipt)
    write_json(out / RECEIPT, receipt)
    return receipt
