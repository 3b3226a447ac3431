"""A YAML file read and checked against a schema; each fault is one line."""

import re
from pathlib import Path
from typing import Any, TypeVar

import pydantic
import yaml

from marscf.errors import ConfigError, nearest

Schema = TypeVar("Schema", bound=pydantic.BaseModel)


def read_yaml(path: str | Path) -> Any:
    """Read one YAML file; raises `ConfigError` naming it where it is missing or malformed."""
    try:
        return yaml.load(Path(path).read_text(encoding="utf-8"), _Loader)
    except OSError as error:
        raise ConfigError(f"cannot read {path}: {error.strerror}") from None
    except UnicodeDecodeError:
        raise ConfigError(f"{path} is not UTF-8; save it as UTF-8") from None
    except yaml.YAMLError as error:
        raise ConfigError(f"{path} is not YAML: {' '.join(str(error).split())}") from None


class _Loader(yaml.SafeLoader):
    """SafeLoader that refuses duplicate keys and reads 8e-4 as a number (YAML 1.2), not a string."""

    def construct_mapping(self, node: yaml.MappingNode, deep: bool = False) -> dict[Any, Any]:
        keys = [self.construct_object(key, deep=True) for key, _ in node.value]
        if repeated := {key for key in keys if keys.count(key) > 1}:
            raise yaml.YAMLError(f"key {min(repeated)!r} stands twice, {node.start_mark}")
        return super().construct_mapping(node, deep)


_Loader.add_implicit_resolver(
    "tag:yaml.org,2002:float",
    re.compile(r"^[-+]?(\d+\.?\d*|\.\d+)[eE][-+]?\d+$"),
    list("-+0123456789."),
)


def parse(schema: type[Schema], value: Any, place: str) -> Schema:
    """Check a value against a schema; raises `ConfigError` with the place, the value and what to change."""
    try:
        return schema.model_validate(value if value is not None else {})
    except pydantic.ValidationError as error:
        faults = error.errors()  # a misspelt key is also a missing one: name the misspelling
        first = next((fault for fault in faults if fault["type"] == "extra_forbidden"), faults[0])
        where = ".".join(str(part) for part in first["loc"])
        if first["type"] == "extra_forbidden":
            keys = _keys_at(schema, first["loc"][:-1])
            raise ConfigError(
                f"{place}: unknown key {where!r}{nearest(str(first['loc'][-1]), keys)}"
            ) from None
        got = "" if first["type"] == "missing" else f", got {first['input']!r}"
        raise ConfigError(f"{place}: {where or 'the file'}: {first['msg']}{got}") from None


def _keys_at(schema: Any, location: tuple[int | str, ...]) -> list[str]:
    for part in location:
        field = getattr(schema, "model_fields", {}).get(part)
        annotation = field.annotation if field else schema
        inner = [a for a in getattr(annotation, "__args__", ()) if hasattr(a, "model_fields")]
        schema = inner[0] if inner else annotation
    return list(getattr(schema, "model_fields", {}))
