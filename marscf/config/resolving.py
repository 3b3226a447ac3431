"""The config of one run, put together from the files of `config/`, and which of them set each value."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, fields
from typing import Any

from marscf.config.declared import option_schema, training_schema
from marscf.config.loading import Config
from marscf.config.parsing import parse
from marscf.config.schemas import Dataset, Overrides, ScaleOverrides, System
from marscf.files import seed_from
from marscf.options import declared_options
from marscf.settings import DataSettings, RunConfig, TrainingSettings, check_levels


@dataclass(frozen=True)
class Layer:
    """What one section of one file says of a run."""

    source: str
    options: Mapping[str, Any] = field(default_factory=dict)
    training: Mapping[str, Any] = field(default_factory=dict)


def layers(config: Config, scale: str, dataset: str, system: str) -> list[Layer]:
    """Return all that `config/` says of a run; a later layer wins. Raises `ConfigError` for unknown names."""
    the_scale, the_dataset, the_system = config.scale(scale), config.dataset(dataset), config.system(system)
    at_scale = the_system.scales.get(scale, ScaleOverrides())
    at_dataset = at_scale.datasets.get(dataset, Overrides())
    file = {"scales": scale, "systems": system, "datasets": dataset}
    path = {kind: str(config.files[kind, name]) for kind, name in file.items()}
    section = f"{path['systems']}: scales.{scale}"
    training = Layer(f"{path['scales']}: training", training=the_scale.training)
    of_system = Layer(section, at_scale.options, at_scale.training)
    of_both = Layer(f"{section}.datasets.{dataset}", at_dataset.options, at_dataset.training)
    if the_scale.like:
        liked = layers(config, the_scale.like, dataset, system)
        steps = _together(layer.training for layer in liked).get("steps", TrainingSettings.steps)
        longer = Layer(f"{path['scales']}: longer", training={"steps": steps * the_scale.longer})
        return [*liked, *[longer] * (the_scale.longer > 1), training, of_system, of_both]
    return [
        training,
        Layer(path["systems"], the_system.options, the_system.training),
        of_system,
        Layer(path["datasets"], _of_dataset(the_dataset, the_system)),
        of_both,
    ]


def _together(sections: Iterable[Mapping[str, Any]]) -> dict[str, Any]:
    """What sections say together: a later one wins."""
    return {name: value for section in sections for name, value in section.items()}


def _of_dataset(dataset: Dataset, system: System) -> dict[str, Any]:
    """The options that a dataset sets: every flow sees it through the same logit."""
    has_margin = "logit_margin" in declared_options(system.model)
    return {"logit_margin": dataset.logit_margin} if has_margin and dataset.logit_margin is not None else {}


def resolve(config: Config, scale: str, dataset: str, system: str, seed: int) -> RunConfig:
    """Return the whole config of one run: all that its weights depend on.

    Raises `ConfigError` for unknown names and keys, values out of range, and image sides that the levels do
    not divide.
    """
    found = layers(config, scale, dataset, system)
    the_dataset, model = config.dataset(dataset), config.system(system).model
    place = f"systems/{system}.yaml at scale {scale} on {dataset}"
    said = _together(layer.options for layer in found)
    options = parse(option_schema(model), said, f"{place}: options").model_dump()
    check_levels(options.get("levels"), the_dataset.shape, place)
    said = _together(layer.training for layer in found)
    training = TrainingSettings(**parse(training_schema(), said, f"{place}: training").model_dump())
    return RunConfig(
        scale=scale,
        dataset=dataset,
        system=system,
        seed=seed,
        seed_value=seed_from(scale, dataset, system, seed),
        model=model,
        options=options,
        training=training,
        data=DataSettings(
            shape=the_dataset.shape,
            grey_levels=the_dataset.grey_levels,
            dims=the_dataset.dimensions,
            augment=training.augment or the_dataset.augment,
        ),
    )


def provenance(config: Config, run: RunConfig) -> dict[str, str]:
    """Return where each value of a resolved run was set: `{"training.steps": "config/scales/quick.yaml: …"}`.

    What is not named here is a default of the code.
    """
    system, dataset = str(config.files["systems", run.system]), str(config.files["datasets", run.dataset])
    found = dict.fromkeys(("scale", "dataset", "system", "seed"), "the run's path")
    found |= {"seed_value": "hash of the run's path", "model": system}
    for layer in layers(config, run.scale, run.dataset, run.system):
        found |= {f"options.{name}": layer.source for name in layer.options}
        found |= {f"training.{name}": layer.source for name in layer.training}
    found |= {f"data.{part.name}": dataset for part in fields(DataSettings)}
    if config.dataset(run.dataset).dims is None:
        found["data.dims"] = "product of data.shape"
    if run.training.augment is not None:
        found["data.augment"] = found["training.augment"]
    return found
