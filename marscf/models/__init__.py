"""Density models. Each module holds one; `build` makes one from a run's config, `load` from a run."""

import contextlib
import importlib
import json
import math
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

from marscf.errors import CheckpointError, ConfigError, nearest
from marscf.options import check_options
from marscf.settings import RunConfig

if TYPE_CHECKING:
    import torch

    from marscf.models.base import DensityModel

WEIGHTS = "weights.safetensors"


def build(config: RunConfig) -> "DensityModel":
    """Build the model of a resolved run config (see `marscf.config.resolve`), with fresh weights.

    `config.model` is `module.Class`, in `marscf.models` or importable from elsewhere. Raises `ConfigError`
    for options that it does not declare, or that are out of range.
    """
    kind = model_class(config.model)
    check_options(config.model, config.options)
    return kind(config.data.shape, config.data.grey_levels, **config.options)


def model_class(model: str) -> type["DensityModel"]:
    """Return the class that `module.Class` names; raises `ConfigError` where there is none."""
    module_name, _, class_name = model.rpartition(".")
    for name in (f"marscf.models.{module_name}", module_name):
        try:
            module = importlib.import_module(name)
        except ModuleNotFoundError as error:
            if not f"{name}.".startswith(f"{error.name}."):
                raise  # the module is there, and lacks something else
            continue
        if class_name not in vars(module):
            raise ConfigError(f"model: no class {class_name!r} in {name}")
        kind: type[DensityModel] = vars(module)[class_name]
        return kind
    known = [path.stem for path in Path(__file__).parent.glob("[a-z]*.py")]
    raise ConfigError(f"model: no module {module_name!r} in marscf.models{nearest(module_name, known)}")


def load(run: str | Path, device: "str | torch.device" = "cpu") -> "DensityModel":
    """Load a trained run's model in eval mode, from the run's folder or a `.safetensors` file.

    Raises `CheckpointError` where weights are missing, damaged, do not fit their own config, or (in a run's
    folder) belong to another config than the run has now.
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
    model = build(config)
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
            f"{weights} belongs to another config ({difference(config, now)}); "
            f"train again: marscf train {weights.parent}"
        )


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
