"""Schemas of what the code declares: a model's options, the settings of training."""

import dataclasses
from functools import cache
from typing import Annotated, Any, Literal

import pydantic
from pydantic import Field, NonNegativeFloat, NonNegativeInt, PositiveFloat, PositiveInt

from marscf.config.schemas import Margin, Probability, Strict
from marscf.errors import ConfigError
from marscf.options import DEQUANTISER, Declared, declared_options
from marscf.settings import TrainingSettings

_TYPES = {
    "PositiveInt": PositiveInt,
    "PositiveInts": Annotated[list[PositiveInt], Field(min_length=1)],
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
        if text == "Dequantiser":
            fields[option] = (option_schema(DEQUANTISER) | None, default)
            continue
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


@cache
def training_schema() -> type[pydantic.BaseModel]:
    """Return the schema of `TrainingSettings`."""
    declared = {
        field.name: (str(field.type), field.default) for field in dataclasses.fields(TrainingSettings)
    }
    return _schema("Training", declared, "marscf/settings.py")
