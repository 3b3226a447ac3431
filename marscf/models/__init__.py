"""Density models. Each module holds one; `build` makes one from a run's config, `load` from a run."""

import importlib
import json
from pathlib import Path
from typing import TYPE_CHECKING, Any

from marscf.errors import CheckpointError, ConfigError

if TYPE_CHECKING:
    from marscf.models.base import DensityModel

WEIGHTS = "weights.safetensors"


def build(config: dict[str, Any]) -> "DensityModel":
    """Build the model of a resolved run config (see `marscf.config.resolve`), with fresh weights.

    `config["model"]` is `module.Class`, in `marscf.models` or importable from elsewhere.
    """
    module_name, _, class_name = config["model"].rpartition(".")
    try:
        module = importlib.import_module(f"marscf.models.{module_name}")
    except ModuleNotFoundError as error:
        if error.name != f"marscf.models.{module_name}":
            raise
        module = importlib.import_module(module_name)
    model_class = getattr(module, class_name, None)
    if model_class is None:
        raise ConfigError(f"model: no class {class_name!r} in {module.__name__}")
    return model_class(tuple(config["data"]["shape"]), config["data"]["grey_levels"], **config["options"])


def load(run: str | Path, device: str = "cpu") -> "DensityModel":
    """Load a trained run's model in eval mode, from the run's folder or a `.safetensors` file.

    Raises `CheckpointError` where weights are missing, damaged, or do not fit their own config.
    """
    import safetensors
    import safetensors.torch

    path = Path(run)
    if path.is_dir() or not path.suffix:
        path = path / WEIGHTS
    if not path.is_file():
        raise CheckpointError(f"no weights at {path}; train them with: marscf train {path.parent}")
    try:
        with safetensors.safe_open(path, framework="pt", device="cpu") as file:
            config = json.loads(file.metadata()["config"])
            weights = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
    except (safetensors.SafetensorError, KeyError, TypeError, ValueError, OSError) as error:
        raise CheckpointError(f"{path} is damaged ({error}); delete it and train again") from error
    model = build(config)
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
    # Rounded weights (bfloat16 files) go back to the model's own precision.
    model.load_state_dict({k: v.to(own[k].dtype) for k, v in weights.items()})
    return model.to(device).eval()


def save(model: "DensityModel", config: dict[str, Any], path: str | Path) -> None:
    """Write weights as safetensors, with the whole run config in the header, atomically."""
    import safetensors.torch

    from marscf.files import replacing

    tensors = {name: t.detach().cpu().contiguous() for name, t in model.state_dict().items()}
    with replacing(path) as temporary:
        safetensors.torch.save_file(tensors, temporary, metadata={"config": json.dumps(config)})
