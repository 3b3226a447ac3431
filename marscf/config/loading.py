"""All YAML files under `config/`, read and checked."""

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import TypeVar

from marscf.config.declared import option_schema, training_schema
from marscf.config.parsing import parse, read_yaml
from marscf.config.schemas import Checkpoint, Dataset, Scale, ScaleOverrides, System
from marscf.errors import ConfigError, nearest

Entry = TypeVar("Entry", Scale, System, Dataset, Checkpoint)


@dataclass(frozen=True)
class Config:
    """Everything under `config/`."""

    scales: dict[str, Scale]
    systems: dict[str, System]
    datasets: dict[str, Dataset]
    checkpoints: dict[str, Checkpoint]
    files: dict[tuple[str, str], Path]  # (kind, name) -> file, as ("systems", "glow")

    def scale(self, name: str) -> Scale:
        """Return a scale by name."""
        return _pick(self.scales, "scale", name)

    def seeds(self, scale: str, system: str) -> list[int]:
        """Return the seeds that a system is trained with at a scale."""
        at_scale = self.system(system).scales.get(scale, ScaleOverrides())
        return at_scale.seeds or self.scale(scale).seeds

    def systems_of(self, scale: str) -> list[str]:
        """Return the systems of a scale, in the order of tables."""
        chosen = self.scale(scale).systems
        return [name for name in self.systems if chosen is None or name in chosen]

    def system(self, name: str) -> System:
        """Return a system by name."""
        return _pick(self.systems, "system", name)

    def dataset(self, name: str) -> Dataset:
        """Return a dataset by name."""
        return _pick(self.datasets, "dataset", name)

    def checkpoint(self, name: str) -> Checkpoint:
        """Return a published checkpoint by name."""
        return _pick(self.checkpoints, "checkpoint", name)


def _pick(table: Mapping[str, Entry], kind: str, name: str) -> Entry:
    if name not in table:
        raise ConfigError(f"unknown {kind} {name!r}{nearest(name, table)}")
    return table[name]


def load_config(folder: str | Path = "config") -> Config:
    """Read and check `config/*/*.yaml`, once per process; raises `ConfigError` at the first fault."""
    return _load(Path(folder), Path(folder).absolute())


@cache
def _load(root: Path, where: Path) -> Config:
    """Read what is at `where`; messages name it as it was asked for, `root`."""
    if not root.is_dir():
        raise ConfigError(f"no folder {root}; run from the repository's root")
    files: dict[tuple[str, str], Path] = {}

    def table(kind: str, schema: type[Entry]) -> dict[str, Entry]:
        entries: dict[str, Entry] = {}
        for path in sorted((root / kind).glob("[!.]*.yaml")):
            entry = parse(schema, read_yaml(path), str(path))
            if entry.name in entries:
                raise ConfigError(f"{path}: name: {entry.name!r} is that of another file there")
            entries[entry.name] = entry
            files[kind, entry.name] = path
        order = sorted(entries.values(), key=lambda entry: (getattr(entry, "order", 0), entry.name))
        return {entry.name: entry for entry in order}

    config = Config(
        table("scales", Scale),
        table("systems", System),
        table("datasets", Dataset),
        table("checkpoints", Checkpoint),
        files,
    )
    for scale in config.scales.values():
        _check_scale(config, scale)
    for system in config.systems.values():
        _check_system(config, system)
    return config


def _check_scale(config: Config, scale: Scale) -> None:
    """Raise `ConfigError` where a scale names what there is not, or has an unknown setting of training."""
    place = f"scales/{scale.name}.yaml"
    parse(training_schema(), scale.training, f"{place}: training")
    if scale.like:
        _check_likes(config, scale)
    elif scale.longer != 1:
        raise ConfigError(f"{place}: longer: than which scale? like: names it")
    studies = scale.studies.interpolation
    figures = scale.figures.values()
    for name in (*scale.datasets, *(f.dataset for f in figures), *(s.dataset for s in studies)):
        config.dataset(name)
    for name in (*(n for f in figures for n in f.systems), *(s.system for s in studies)):
        config.system(name)
    for name in scale.systems or ():
        config.system(name)


def _check_likes(config: Config, scale: Scale) -> None:
    """Raise `ConfigError` where the scales that one is like train nothing, or go round in a circle."""
    chain = [scale]
    while chain[-1].like:
        place = f"scales/{chain[-1].name}.yaml: like:"
        chain.append(_pick(config.scales, f"scale in {place}", chain[-1].like))
        if chain[-1].published:
            raise ConfigError(f"{place} {chain[-1].name!r} trains nothing")
        if chain[-1] in chain[:-1]:
            raise ConfigError(f"{place} in a circle: {', '.join(link.name for link in chain)}")


def _check_system(config: Config, system: System) -> None:
    """Raise `ConfigError` where a system has an unknown option, setting, scale or dataset."""
    path = config.files["systems", system.name]
    if system.control_of:
        _pick(config.systems, f"system in {path}: control_of:", system.control_of)
    parse(option_schema(system.model), system.options, f"{path}: options")
    parse(training_schema(), system.training, f"{path}: training")
    for name, overrides in system.scales.items():
        _pick(config.scales, f"scale in systems/{system.name}.yaml:", name)
        for dataset in overrides.datasets:
            _pick(config.datasets, f"dataset in systems/{system.name}.yaml:", dataset)
