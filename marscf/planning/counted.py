"""What a model has and needs, counted rather than timed: parameters, operations, activations.

To count a model is to run it, which for one of the paper's size takes a minute of a core. So counts are kept
in `reports/bench/counted.json`, each with the digest of the code it is of: other code is counted again.
"""

from collections.abc import Iterable
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from marscf.bench.measure import kept_bytes
from marscf.bench.work import noise_batch
from marscf.code import behind
from marscf.evaluation.flops import training_flops
from marscf.files import digest, read_json, write_json
from marscf.models.base import DensityModel
from marscf.settings import RunConfig

RECORD = Path("reports/bench/counted.json")


@dataclass(frozen=True)
class Counts:
    """What is counted of a model; of one in closed form its parameters alone."""

    parameters: int
    gflops_per_image: float | None = None  # of training
    kept_bytes: float = 0.0  # activations of one image, kept for the backward pass
    kept_if_recomputed: float | None = None  # the same with activation_checkpointing, where the model can


def count(model: DensityModel) -> Counts:
    """Count on noise images; the model is left in training, with its activation_checkpointing off."""
    parameters = sum(parameter.numel() for parameter in model.parameters())
    if model.closed_form:
        return Counts(parameters)
    flops = training_flops(model, noise_batch(model, 1)[0][0])
    return Counts(
        parameters,
        None if flops is None else flops / 1e9,
        _kept(model),
        _kept(model, recompute=True) if model.can_recompute else None,
    )


def _kept(model: DensityModel, recompute: bool = False) -> float:
    """Return the bytes that one image more keeps for the backward pass."""
    model.train()
    model.activation_checkpointing = recompute

    def bytes_of(n: int) -> int:
        x, noise = noise_batch(model, n)
        model.begin_step()
        return kept_bytes(lambda: model.training_loss(x, noise), list(model.parameters()))

    kept = float(bytes_of(2) - bytes_of(1))
    model.activation_checkpointing = False
    return max(kept, 0.0)


def known(config: RunConfig, record: Path = RECORD) -> Counts | None:
    """Return what was counted of this model on a CPU, with today's code, or None."""
    if (entry := _read(record).get(form(config))) is None or entry["code"] != _code(config):
        return None
    return Counts(**entry["counts"])


def keep(counted: Iterable[tuple[RunConfig, Counts]], record: Path = RECORD) -> None:
    """Add to the record; what other code counted of the same models is replaced, all else stays."""
    found = _read(record)
    for config, counts in counted:
        found[form(config)] = {"code": _code(config), "counts": asdict(counts)}
    write_json(record, dict(sorted(found.items())))


def _read(record: Path) -> dict[str, Any]:
    return read_json(record) if record.is_file() else {}


def form(config: RunConfig) -> str:
    """Return the model, the images' shape and a digest of all else that the counts depend on."""
    options = {name: value for name, value in config.options.items() if name != "logit_margin"}
    rest = digest([options, config.data.grey_levels])[:12]
    return f"{config.model} {'x'.join(map(str, config.data.shape))} {rest}"


def _code(config: RunConfig) -> str:
    return behind("likelihood", config.model)
