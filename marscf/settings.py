"""A run's config: every setting of training with its default and its range, declared once.

Nothing here needs pydantic or YAML: a machine that has torch alone reads a run's `config.json` by it.
`marscf.config` makes the schema of the YAML files from `TrainingSettings`.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import MISSING, dataclass, field, fields
from types import MappingProxyType
from typing import TYPE_CHECKING, Any, Literal, TypeVar

from marscf.errors import ConfigError, nearest
from marscf.files import seed_from
from marscf.options import check_value, declared_options

if TYPE_CHECKING:
    from marscf.options import NonNegativeFloat, NonNegativeInt, PositiveFloat, PositiveInt, Probability

T = TypeVar("T")

NAMES = ("scale", "dataset", "system", "seed")  # of a run
SECTIONS = ("options", "training", "data")  # of a run's config, each with keys of its own


@dataclass(frozen=True)
class TrainingSettings:
    """How a run is trained.

    Configs that differ in a field that is not compared are of one training: it goes on where it was.
    """

    steps: PositiveInt = 1000  # optimiser steps
    batch_size: PositiveInt = 64  # images per step, over all processes and accumulated parts
    augment: Literal["none", "flip", "shift", "flip-shift"] | None = None  # None: what the dataset says
    optimizer: Literal["adamax", "adam"] = "adamax"
    betas: tuple[Probability, Probability] = (0.9, 0.999)  # of the optimiser
    learning_rate: PositiveFloat = 8e-4
    warmup_images: NonNegativeInt = 10_000  # linear warm-up, in images as in the authors' code
    decay: Literal["constant", "cosine"] = "constant"  # of the learning rate after the warm-up
    weight_decay: NonNegativeFloat = 0.0  # L2, against overfitting where the dataset is small
    gradient_clip: PositiveFloat | None = 100.0  # largest global norm of the gradient of the loss
    gradient_clip_unit: Literal["nats/dim", "bits/dim", "nats/image"] = "nats/dim"  # of that loss
    average_decay: Probability = 0.999  # of the exponential moving average of the weights; 0 turns it off
    validate_every: PositiveInt = 500  # steps between validations; the best averaged weights are kept
    # at most so many of the validation images; 0 trains on them too and keeps the last averaged weights
    validation_images: NonNegativeInt = 1000
    # steps between saved training states
    checkpoint_every: PositiveInt = field(default=500, compare=False)
    accumulate: PositiveInt = 1  # parts a batch is split into, one after the other on each process
    activation_checkpointing: bool = False  # recompute activations in the backward pass
    precision: Literal["float32", "bfloat16"] = "float32"  # of the networks; densities stay float32
    compile: bool = False  # torch.compile of most work: minutes at the start; a CPU needs a C++ compiler
    # non-finite steps in a row before the run goes back to a checkpoint
    max_skips: PositiveInt = field(default=10, compare=False)
    # with half the learning rate each, before the run is given up
    max_rollbacks: NonNegativeInt = field(default=3, compare=False)

    @property
    def validates(self) -> bool:
        """Whether validation images choose the weights; if not, they are trained on too."""
        return self.validation_images > 0


@dataclass(frozen=True)
class DataSettings:
    """What a run must know of its dataset."""

    shape: tuple[PositiveInt, PositiveInt, PositiveInt]  # C, H, W
    grey_levels: PositiveInt
    dims: PositiveInt  # what bits/dim divides by
    augment: Literal["none", "flip", "shift", "flip-shift"]  # of training images


@dataclass(frozen=True)
class RunConfig:
    """All that the weights of a run depend on, complete: `to_json` writes it and `from_json` reads it."""

    scale: str
    dataset: str
    system: str
    seed: NonNegativeInt
    seed_value: NonNegativeInt  # of all randomness in training
    model: str  # module.Class, in marscf.models or importable from elsewhere
    options: Mapping[str, Any]  # all arguments of the model's constructor: those not given, by default
    training: TrainingSettings
    data: DataSettings

    def __post_init__(self) -> None:
        options = {**_option_defaults(self.model), **self.options}
        object.__setattr__(self, "options", MappingProxyType(options))

    def to_json(self) -> dict[str, Any]:
        """Return the config as JSON values."""
        sections = {"options": dict(self.options), "training": vars(self.training), "data": vars(self.data)}
        return json.loads(json.dumps({**vars(self), **sections}))

    @classmethod
    def from_json(cls, value: Any, place: str = "config") -> RunConfig:
        """Read a config; whatever it does not name has the default that the code gives it now.

        So a run made before an option existed has the config of the same run made now, for it was made as
        the default says; `seed_value` follows from the names. `place` is where the config stands, for
        errors. Raises `ConfigError` for an unknown key, for a missing one that has no default, and for a
        value out of range, as in the files of `config/`.
        """
        table = _table(value, place)
        table.setdefault("seed_value", seed_from(*(table.get(name) for name in NAMES)))
        options = _table(table.get("options", {}), f"{place}: options")
        training = _read(TrainingSettings, table.get("training", {}), f"{place}: training")
        data = _read(DataSettings, table.get("data", {}), f"{place}: data")
        check_levels(options.get("levels"), data.shape, place)
        if training.augment not in (None, data.augment):
            words = f"data.augment is {data.augment!r}, which training takes"
            raise ConfigError(f"{place}: training.augment: {training.augment!r}, but {words}")
        return _read(cls, {**table, "options": options, "training": training, "data": data}, place)


def check_levels(levels: Any, shape: tuple[int, int, int], place: str) -> None:
    """Raise `ConfigError` where the levels of a model do not divide the sides of the images."""
    _, height, width = shape
    factor = 2 ** min(levels, 32) if isinstance(levels, int) else 1  # a file may claim any number
    if height % factor or width % factor:
        raise ConfigError(
            f"{place}: levels: {levels} levels need sides divisible by {factor}, "
            f"the images are {height}×{width}; lower options.levels"
        )


def _option_defaults(model: str) -> dict[str, Any]:
    try:
        declared = declared_options(model)
    except ConfigError:  # the model is not here: nothing is known of it
        return {}
    return {name: default for name, (_, default) in declared.items() if default is not ...}


def _table(value: Any, place: str) -> dict[str, Any]:
    if not isinstance(value, Mapping):
        raise ConfigError(f"{place}: {value!r} is no table of names and values")
    return dict(value)


def _read(kind: type[T], value: Any, place: str) -> T:
    """Make a dataclass of JSON values, each of which must fit its annotation: lists become tuples."""
    table = _table(value, place)
    declared = fields(kind)  # type: ignore[arg-type]  # T is a dataclass
    known = {part.name: part.default for part in declared}
    for name in table:
        if name not in known:
            raise ConfigError(f"{place}: unknown key {name!r}{nearest(name, known)}")
    for part in declared:
        if part.name in table and part.name not in SECTIONS:
            check_value(table[part.name], str(part.type), f"{place}: {part.name}", kind.__name__)
    for name, default in known.items():
        if default is MISSING and name not in table:
            raise ConfigError(f"{place}: there is no {name!r}")
    return kind(**{name: tuple(v) if isinstance(v, list) else v for name, v in table.items()})
