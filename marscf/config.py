"""The one typed loader of `config/`, for the command line and the Snakefile alike.

Unknown keys are refused with the nearest name, values out of range with their place. Nothing here imports
torch: a model's options are read from its constructor's signature as text (see `marscf.options`).
"""

from dataclasses import dataclass
from dataclasses import fields as dataclass_fields
from functools import cache
from pathlib import Path
from typing import Annotated, Any, Literal

import pydantic
import yaml
from pydantic import Field, NonNegativeFloat, NonNegativeInt, PositiveFloat, PositiveInt

from marscf import settings
from marscf.errors import ConfigError, nearest
from marscf.files import seed_from
from marscf.options import Declared, declared_options

Probability = Annotated[float, Field(ge=0, lt=1)]
Margin = Annotated[float, Field(gt=0, lt=0.5)] | None
Name = Annotated[str, Field(pattern=r"^[a-z0-9][a-z0-9.-]*$")]


class Strict(pydantic.BaseModel):
    """A section of a YAML file: unknown keys refused, values checked, immutable."""

    model_config = pydantic.ConfigDict(extra="forbid", frozen=True, allow_inf_nan=False)


class Overrides(Strict):
    """What a scale changes of a system."""

    options: dict[str, Any] = {}
    training: dict[str, Any] = {}


class ScaleOverrides(Overrides):
    """What one scale changes of a system, for all datasets and for single ones."""

    datasets: dict[str, Overrides] = {}
    seeds: list[NonNegativeInt] = []  # the scale's where not given; more than one to see their spread


class System(Strict):
    """One thing that is trained and measured (`config/systems/`)."""

    name: Name
    title: str  # in tables and figures
    order: int = 100  # place in tables and figures
    colour: Annotated[str, Field(pattern=r"^#[0-9A-Fa-f]{6}$")] | None = None  # in figures
    model: str  # module.Class in marscf.models, or importable from elsewhere
    cite: str  # paper
    options: dict[str, Any]  # arguments of the model's constructor, the paper's values
    training: dict[str, Any] = {}  # what differs from the scale's
    scales: dict[str, ScaleOverrides] = {}


class Source(Strict):
    """One file of a dataset at its publisher."""

    file: str  # its name in a mirror, MIRROR/<dataset>/<file>
    urls: list[str] = []  # tried in order
    sha256: str | None = None
    md5: str | None = None  # where the publisher states no other
    bytes: PositiveInt | None = None


class Release(Strict):
    """One of several releases of a dataset whose images differ; its numbers never stand beside another's."""

    images: dict[str, PositiveInt]  # source split -> their number, which tells the releases apart
    sources: dict[str, Source]
    where: str = ""  # how to come by files that have no public address


class SourceOptions(Strict):
    """What a dataset's parser is told."""

    path: str | None = None  # formats folder and npy: your images
    test_path: str | None = None  # format npy: your test images, where they are a file of their own
    test: NonNegativeInt = 0  # images carved for the test split where the source has none


class Dataset(Strict):
    """One dataset (`config/datasets/`)."""

    name: Name
    title: str  # in tables and figures; the name where not given
    format: str  # of its sources, a parser of marscf.data.formats
    shape: tuple[PositiveInt, PositiveInt, PositiveInt]  # C, H, W as the models see it
    grey_levels: Annotated[int, Field(ge=2, le=256)] = 256
    dims: PositiveInt | None = None  # what bits/dim divides by; C·H·W where not given
    augment: Literal["none", "flip", "shift", "flip-shift"] = "none"  # of training images
    logit_margin: Margin = None  # that every flow has on these images; null: what each system says
    # images split off from the training images; training.validation_images: 0 trains on them too
    validation: PositiveInt
    sources: dict[str, Source] = {}
    releases: dict[str, Release] = {}  # in place of sources, where there are several; the first is preferred
    options: SourceOptions = SourceOptions()
    digests: dict[str, str] = {}  # source split -> order-independent digest of the decoded images
    mirror_name: str | None = None  # folder in a mirror, the dataset's name where not given
    licence: str = ""
    cite: str = ""
    note: str = ""

    @pydantic.model_validator(mode="before")
    @classmethod
    def _title(cls, value: Any) -> Any:
        return {"title": value.get("name"), **value} if isinstance(value, dict) else value

    @property
    def dimensions(self) -> int:
        """What bits/dim divides by."""
        channels, height, width = self.shape
        return self.dims or channels * height * width


class Fidelity(Strict):
    """How samples are compared with real images (`marscf evaluate fidelity`)."""

    extractor: Literal["inception", "digits-net", "none"] = "digits-net"
    samples: Annotated[int, Field(ge=8)] = 50_000
    batch_size: PositiveInt = 250  # samples drawn at once
    # Published FIDs are against the publisher's whole training set: train+val.
    reference: Literal["train", "train+val", "test"] = "train"


class Evaluation(Strict):
    """How a run is measured (`marscf evaluate`)."""

    batch_size: PositiveInt = 250
    draws: PositiveInt = 4  # dequantisation draws averaged
    importance_samples: NonNegativeInt = 0  # draws of the importance-weighted bound; 0 leaves it out
    images: PositiveInt | None = None  # of the test set; all where not given
    grid: PositiveInt = 64  # images in a sample grid
    fidelity: Fidelity = Fidelity()


class SamplingSpeed(Strict):
    """The sampling-speed sweep (Fig. 7)."""

    dataset: str | None = None  # whose options and grey levels are taken; the scale's first where not given
    exclude: list[str] = ["histogram"]  # systems without sampling depth
    sides: Annotated[list[PositiveInt], Field(min_length=1)] = [8, 16, 32, 64, 128]
    channels: PositiveInt = 3
    batch_size: PositiveInt = 8
    repeats: PositiveInt = 10
    budget_seconds: PositiveFloat | None = None  # of a point's repeats; left out where one call takes 10×
    unlimited: list[str] = []  # systems without that budget

    def budget(self, system: str) -> float | None:
        """Return the budget of each of a system's points, None where there is none."""
        return None if system in self.unlimited else self.budget_seconds


class Interpolation(Strict):
    """The interpolation study (Figs. 11 and 12)."""

    dataset: str
    system: str
    pairs: PositiveInt = 4  # of test images, drawn in Fig. 11
    score_pairs: PositiveInt = 64  # of test images, of the scores in Fig. 12; the drawn ones are among them
    validation_pairs: Annotated[int, Field(ge=2)] = 24  # of validation images, by which λ is chosen
    batch_size: PositiveInt = 256  # points that are moved at once, in whole pairs
    points: Annotated[int, Field(ge=3)] = 9  # along a path, both ends counted
    iterations: PositiveInt = 100
    learning_rate: PositiveFloat = 5e-2  # in the standard deviations of each level's latents
    objective: Literal["three-term", "two-term"] = "three-term"  # see marscf/studies/interpolation.py
    # up to where log p(z) counts: to that of the denser real end, or without bound, or not at all
    density: Literal["typical", "unbounded", "ignored"] = "typical"
    # λ1 = λ2, of which one is chosen; λ = 0, the straight line, is always among them
    lambdas: Annotated[list[PositiveFloat], Field(min_length=1)] = [0.2, 0.35, 0.5]


class Studies(Strict):
    """The two studies."""

    sampling_speed: SamplingSpeed = SamplingSpeed()
    interpolation: list[Interpolation] = []


class SampleFigure(Strict):
    """Which samples stand side by side in one of Figs. 8 to 10."""

    dataset: str
    systems: list[str]


class Resources(Strict):
    """What one training job asks of a cluster."""

    gpu: NonNegativeInt = 0
    minutes: PositiveInt = 60
    memory_mb: PositiveInt = 8000
    threads: PositiveInt = 1


class Scale(Strict):
    """How large everything is (`config/scales/`)."""

    name: Name
    description: str
    datasets: Annotated[list[str], Field(min_length=1)]
    seeds: Annotated[list[NonNegativeInt], Field(min_length=1)] = [0]
    training: dict[str, Any] = {}
    evaluation: Evaluation = Evaluation()
    studies: Studies = Studies()
    figures: dict[str, SampleFigure] = {}
    resources: Resources = Resources()


@dataclass(frozen=True)
class Config:
    """Everything under `config/`."""

    scales: dict[str, Scale]
    systems: dict[str, System]
    datasets: dict[str, Dataset]

    def scale(self, name: str) -> Scale:
        """Return a scale by name."""
        return _pick(self.scales, "scale", name)

    def seeds(self, scale: str, system: str) -> list[int]:
        """Return the seeds that a system is trained with at a scale."""
        at_scale = self.system(system).scales.get(scale, ScaleOverrides())
        return at_scale.seeds or self.scale(scale).seeds

    def system(self, name: str) -> System:
        """Return a system by name."""
        return _pick(self.systems, "system", name)

    def dataset(self, name: str) -> Dataset:
        """Return a dataset by name."""
        return _pick(self.datasets, "dataset", name)


def _pick(table: dict[str, Any], kind: str, name: str) -> Any:
    if name not in table:
        raise ConfigError(f"unknown {kind} {name!r}{nearest(name, table)}")
    return table[name]


@cache
def load_config(folder: str | Path = "config") -> Config:
    """Read and check `config/{scales,systems,datasets}/*.yaml`; raises `ConfigError` at the first fault."""
    folder = Path(folder)
    if not folder.is_dir():
        raise ConfigError(f"no folder {folder}; run from the repository's root")

    def table(kind: str, schema: type[Strict]) -> dict[str, Any]:
        entries: dict[str, Any] = {}
        for path in sorted((folder / kind).glob("*.yaml")):
            entry = parse(schema, read_yaml(path), str(path))
            if entry.name in entries:
                raise ConfigError(f"{path}: name: {entry.name!r} is that of another file there")
            entries[entry.name] = entry
        order = sorted(entries.values(), key=lambda entry: (getattr(entry, "order", 0), entry.name))
        return {entry.name: entry for entry in order}

    config = Config(table("scales", Scale), table("systems", System), table("datasets", Dataset))
    for scale in config.scales.values():
        for name in scale.datasets:
            config.dataset(name)
        for figure in (*scale.figures.values(), *scale.studies.interpolation):
            config.dataset(figure.dataset)
            for name in getattr(figure, "systems", None) or [figure.system]:
                config.system(name)
    for system in config.systems.values():
        parse(option_schema(system.model), system.options, f"{folder}/systems/{system.name}.yaml: options")
        parse(Training, system.training, f"{folder}/systems/{system.name}.yaml: training")
        for name, overrides in system.scales.items():
            _pick(config.scales, f"scale in systems/{system.name}.yaml:", name)
            for dataset in overrides.datasets:
                _pick(config.datasets, f"dataset in systems/{system.name}.yaml:", dataset)
    return config


def read_yaml(path: str | Path) -> Any:
    """Read one YAML file; raises `ConfigError` naming it where it is missing or malformed."""
    try:
        return yaml.load(Path(path).read_text(), _Loader)
    except OSError as error:
        raise ConfigError(f"cannot read {path}: {error.strerror}") from None
    except yaml.YAMLError as error:
        raise ConfigError(f"{path} is not YAML: {' '.join(str(error).split())}") from None


class _Loader(yaml.SafeLoader):
    """SafeLoader that refuses duplicate keys and reads 8e-4 as a number (YAML 1.2), not a string."""

    def construct_mapping(self, node: yaml.MappingNode, deep: bool = False) -> dict:
        keys = [self.construct_object(key, deep=True) for key, _ in node.value]
        if repeated := {key for key in keys if keys.count(key) > 1}:
            raise yaml.YAMLError(f"key {min(repeated)!r} stands twice, {node.start_mark}")
        return super().construct_mapping(node, deep)


_Loader.add_implicit_resolver(
    "tag:yaml.org,2002:float",
    __import__("re").compile(r"^[-+]?(\d+\.?\d*|\.\d+)[eE][-+]?\d+$"),
    list("-+0123456789."),
)


def parse(schema: type[pydantic.BaseModel], value: Any, place: str) -> Any:
    """Check a value against a schema; raises `ConfigError` with the place, the value and the mend."""
    try:
        return schema.model_validate(value if value is not None else {})
    except pydantic.ValidationError as error:
        faults = error.errors()  # of a key that is misspelt and so missing, the misspelling is said
        first = next((fault for fault in faults if fault["type"] == "extra_forbidden"), faults[0])
        where = ".".join(str(part) for part in first["loc"])
        if first["type"] == "extra_forbidden":
            keys = _keys_at(schema, first["loc"][:-1])
            raise ConfigError(
                f"{place}: unknown key {where!r}{nearest(str(first['loc'][-1]), keys)}"
            ) from None
        got = "" if first["type"] == "missing" else f", got {first['input']!r}"
        raise ConfigError(f"{place}: {where or 'the file'}: {first['msg']}{got}") from None


def _keys_at(schema: Any, location: tuple) -> list[str]:
    for part in location:
        field = getattr(schema, "model_fields", {}).get(part)
        annotation = field.annotation if field else schema
        inner = [a for a in getattr(annotation, "__args__", ()) if hasattr(a, "model_fields")]
        schema = inner[0] if inner else annotation
    return list(getattr(schema, "model_fields", {}))


# ---- what is declared outside of YAML: a model's options, the settings of training


_TYPES = {
    "PositiveInt": PositiveInt,
    "NonNegativeInt": NonNegativeInt,
    "PositiveFloat": PositiveFloat,
    "NonNegativeFloat": NonNegativeFloat,
    "Probability": Probability,
    "Margin": Margin,
    **{kind.__name__: kind for kind in (bool, int, float, str, list, tuple)},
    "Literal": Literal,
}


def _schema(name: str, declared: Declared, place: str) -> type[pydantic.BaseModel]:
    """Return the schema of what is declared; raises `ConfigError` for a type that is not known."""
    fields: dict[str, Any] = {}
    for option, (text, default) in declared.items():
        try:
            fields[option] = (eval(text, {"__builtins__": {}}, _TYPES), default)
        except (NameError, SyntaxError, TypeError):
            raise ConfigError(
                f"{place}: option {option!r}: annotation {text!r}; use {', '.join(_TYPES)}"
            ) from None
    return pydantic.create_model(name, __base__=Strict, **fields)


@cache
def option_schema(model: str) -> type[pydantic.BaseModel]:
    """Return the schema of a model's options, read from its constructor's keyword-only arguments."""
    return _schema("Options", declared_options(model), f"model {model}")


Training = _schema("Training", {f.name: (f.type, f.default) for f in dataclass_fields(settings.Training)}, "")


# ---- runs


def resolve(config: Config, scale: str, dataset: str, system: str, seed: int) -> dict[str, Any]:
    """Return the whole config of one run as plain JSON values: all that its weights depend on.

    Later layers win: defaults, the scale's training, the system, the system at that scale, and there for
    that dataset. Raises `ConfigError` for unknown names and keys, values out of range, and image sides that
    the levels do not divide.
    """
    the_scale, the_dataset, the_system = config.scale(scale), config.dataset(dataset), config.system(system)
    at_scale = the_system.scales.get(scale, ScaleOverrides())
    at_dataset = at_scale.datasets.get(dataset, Overrides())
    # The same preprocessing for every flow: a margin of the dataset wins over a system's own.
    own = {} if the_dataset.logit_margin is None else {"logit_margin": the_dataset.logit_margin}
    own = {name: value for name, value in own.items() if name in declared_options(the_system.model)}
    options = {**the_system.options, **at_scale.options, **own, **at_dataset.options}
    training = {**the_scale.training, **the_system.training, **at_scale.training, **at_dataset.training}
    place = f"systems/{system}.yaml at scale {scale} on {dataset}"
    options = parse(option_schema(the_system.model), options, f"{place}: options").model_dump()
    _, height, width = the_dataset.shape
    if (levels := options.get("levels")) and (height % 2**levels or width % 2**levels):
        raise ConfigError(
            f"{place}: levels: {levels} levels need sides divisible by {2**levels}, "
            f"the images are {height}×{width}; lower options.levels"
        )
    training = parse(Training, training, f"{place}: training").model_dump()
    return {
        "scale": scale,
        "dataset": dataset,
        "system": system,
        "seed": seed,
        "seed_value": seed_from(scale, dataset, system, seed),
        "model": the_system.model,
        "options": options,
        "training": training,
        "data": {
            "shape": list(the_dataset.shape),
            "grey_levels": the_dataset.grey_levels,
            "dims": the_dataset.dimensions,
            "augment": training["augment"] or the_dataset.augment,
        },
    }
