"""Density models. Each module holds one; `build` makes one from a run's config, `load` from a run."""

import contextlib
import importlib
import json
import math
from collections.abc import Collection, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

from marscf.environment import given
from marscf.errors import CheckpointError, ConfigError
from marscf.options import check_options, module_path
from marscf.settings import RunConfig

if TYPE_CHECKING:
    import torch

    from marscf.models.base import DensityModel

WEIGHTS = "weights.safetensors"


def build(config: RunConfig, allow: Collection[str] = ()) -> "DensityModel":
    """Build the model of a resolved run config (see `marscf.config.resolve`), with fresh weights.

    `config.model` is one that `model_class` gives. Raises `ConfigError` for options that it does not declare,
    or that are out of range.
    """
    kind = model_class(config.model, allow)
    check_options(config.model, config.options)
    return kind(config.data.shape, config.data.grey_levels, **config.options)


def model_class(model: str, allow: Collection[str] = ()) -> type["DensityModel"]:
    """Return the class that `module.Class` names: a density model, and one that the user knows of.

    A config comes with a file of weights, from anyone, and to import a module runs its code. So it is one of
    `marscf.models`, of a file in `config/systems`, of the environment's MARSCF_MODELS (separated by commas)
    or of `allow`. Raises `ConfigError` for any other.
    """
    from marscf.models.base import DensityModel

    module_name, _, class_name = model.rpartition(".")
    module_file = module_path(module_name)
    if module_file.is_relative_to(Path(__file__).parent):
        module_name = f"{__name__}.{module_name}"
    elif model not in allow and model not in _known():
        raise ConfigError(
            f"model: {model} is neither of marscf.models nor of a file in config/systems; "
            f"if you trust its code, set MARSCF_MODELS={model}"
        )
    kind = vars(importlib.import_module(module_name)).get(class_name)
    if not (isinstance(kind, type) and issubclass(kind, DensityModel)):
        raise ConfigError(f"model: no class {class_name!r} in {module_file} that is a DensityModel")
    return kind


def _known() -> set[str]:
    """The models that the user names: in `config/systems`, where there are such files, and MARSCF_MODELS."""
    named = {name.strip() for name in (given("MARSCF_MODELS") or "").split(",")}
    if Path("config/systems").is_dir():
        with contextlib.suppress(ImportError):  # a machine that trains may lack pydantic
            from marscf.config import load_config

            named |= {system.model for system in load_config().systems.values()}
    return named


def load(
    run: str | Path, device: "str | torch.device" = "cpu", allow: Collection[str] = ()
) -> "DensityModel":
    """Load a trained run's model in eval mode, from the run's folder or a `.safetensors` file.

    `allow` names models besides those that `model_class` knows. Raises `CheckpointError` where weights are
    missing, damaged, do not fit their own config, or (in a run's folder) belong to another config than the
    run has now.
    """
    path = Path(run)
    if whole_run := path.is_dir() or not path.suffix:
        path = path / WEIGHTS
    if not path.is_file():
        raise CheckpointError(f"no weights at {path}; train them with: marscf train {path.parent}")
    with _opened(path, "pt") as file:
        config = RunConfig.from_json(json.loads(file.metadata()["config"]), str(path))
        weights = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
    if whole_run:
        _check_config(path, config)
        _check_receipt(path)
    model = build(config, allow)
    weights = model.current_names(weights)
    own = model.state_dict()
    for name, tensor in own.items():
        if name not in weights:
            raise CheckpointError(f"{path}: no weights for {name!r}; it belongs to another model version")
        if weights[name].shape != tensor.shape:
            raise CheckpointError(
                f"{path}: {name!r} has shape {tuple(weights[name].shape)}, the model {tuple(tensor.shape)}"
            )
    if extra := weights.keys() - own.keys():
        raise CheckpointError(f"{path}: unknown weights {min(extra)!r}; it belongs to another model version")
    # Rounded weights go back to the model's own precision.
    model.load_state_dict({k: v.to(own[k].dtype) for k, v in weights.items()})
    return model.to(device).eval()


def read_header(path: str | Path) -> RunConfig:
    """Return the config that weights were saved with; raises `CheckpointError` where it cannot be read."""
    with _opened(Path(path), "numpy") as file:
        return RunConfig.from_json(json.loads(file.metadata()["config"]), str(path))


@contextlib.contextmanager
def _opened(path: Path, framework: str) -> Iterator[Any]:
    import safetensors

    try:
        with safetensors.safe_open(path, framework=framework, device="cpu") as file:
            yield file
    except (safetensors.SafetensorError, KeyError, TypeError, ValueError, OSError) as error:
        raise CheckpointError(f"{path} is damaged ({error}); delete it and train again") from error


def _check_config(weights: Path, config: RunConfig) -> None:
    """Raise `CheckpointError` where a run's weights were trained with another config than it has now."""
    from marscf.runs import difference, run_config

    try:
        now = run_config(weights.parent)
    except (ConfigError, ImportError):
        return  # carried elsewhere, away from `config/`: the weights' own config is all there is
    if now != config:
        raise CheckpointError(
            f"{weights} belongs to another config ({difference(config, now)}); {_again(weights.parent)}"
        )


def _check_receipt(weights: Path) -> None:
    """Raise `CheckpointError` where a run's weights are not those that its receipt tells of."""
    from marscf.files import sha256_file

    stated = _receipt(weights.parent).get("weights_sha256")
    if stated is not None and sha256_file(weights) != stated:
        raise CheckpointError(
            f"{weights} is not the file that the run's receipt tells of (SHA-256 {stated!s:.12}…): it was "
            f"altered, or is of another training; put the right one back, or {_again(weights.parent)}"
        )


def _receipt(folder: Path) -> dict[str, Any]:
    from marscf.files import read_json
    from marscf.runs import FINISHED, RECEIPT

    path = next((folder / name for name in (RECEIPT, FINISHED) if (folder / name).is_file()), None)
    receipt = read_json(path) if path else {}
    if not isinstance(receipt, dict):
        raise CheckpointError(f"{path} is no receipt; put the right one back, or {_again(folder)}")
    return receipt


def _again(folder: Path) -> str:
    """The words that say how a run's weights are made again: by an import or by training."""
    from marscf.runs import RECEIPT

    receipt = folder / RECEIPT
    imported = receipt.is_file() and b'"imported_from"' in receipt.read_bytes()
    return f"run: marscf {'checkpoints --run' if imported else 'train'} {folder}"


def save(model: "DensityModel", config: RunConfig, path: str | Path, round_from: float = math.inf) -> None:
    """Write weights as safetensors, with the whole run config in the header, atomically.

    Tensors of float32 with `round_from` numbers or more are rounded to float16; `load` gives float32 back.
    """
    import safetensors.torch
    import torch

    from marscf.files import replacing

    tensors = {name: t.detach().cpu().contiguous() for name, t in model.state_dict().items()}
    for name, tensor in tensors.items():
        if tensor.dtype == torch.float32 and tensor.numel() >= round_from:
            tensors[name] = tensor.half()
    header = {"config": json.dumps(config.to_json(), sort_keys=True)}
    content = safetensors.torch.save(tensors, metadata=header)
    with replacing(path) as temporary:
        temporary.write_bytes(content)
