"""The types of model options and of settings; what a model's constructor declares.

A model's constructor signature is the schema of its `options` in `config/systems/`: `marscf.config` reads
the annotations (without importing torch) and checks every YAML against them. These names say which values
are in range; at run time they are plain numbers.
"""

import ast
import importlib.util
import math
import re
from collections.abc import Callable, Mapping
from functools import cache
from pathlib import Path
from typing import Any, Literal

from marscf.errors import ConfigError, nearest

PositiveInt = int  # 1, 2, …
PositiveInts = list[int]  # one or more of 1, 2, …
NonNegativeInt = int  # 0, 1, …
PositiveFloat = float  # > 0
NonNegativeFloat = float  # ≥ 0
Probability = float  # 0 ≤ p < 1
Margin = float | None  # 0 < m < 1/2, or None
Dequantiser = dict[str, Any] | None  # the options of `marscf.models.dequantiser.LearnedDequantiser`, or None

__all__ = [
    "Dequantiser",
    "Literal",
    "Margin",
    "NonNegativeFloat",
    "NonNegativeInt",
    "PositiveFloat",
    "PositiveInt",
    "PositiveInts",
    "Probability",
    "check_options",
    "check_value",
    "declared_options",
    "module_path",
]

#: Whose options the option `dequantiser` of a flow holds.
DEQUANTISER = "dequantiser.LearnedDequantiser"

#: name → (annotation as text, default, `...` where there is none)
Declared = dict[str, tuple[str, Any]]


@cache
def declared_options(model: str) -> Declared:
    """Return what a model's constructor takes as keyword-only arguments, read from its source as text.

    `model` is `module.Class`, in `marscf.models` or importable from elsewhere. Raises `ConfigError` where it
    is not found, or a default is not a plain value.
    """
    module, _, class_name = model.rpartition(".")
    path = module_path(module)
    tree = ast.parse(path.read_bytes(), str(path))
    found = [node for node in tree.body if isinstance(node, ast.ClassDef) and node.name == class_name]
    inits = [n for c in found for n in c.body if isinstance(n, ast.FunctionDef) and n.name == "__init__"]
    if not inits:
        raise ConfigError(f"model: {model}: no class {class_name!r} with an __init__ in {path}")
    arguments = inits[0].args
    declared: Declared = {}
    for argument, default in zip(arguments.kwonlyargs, arguments.kw_defaults, strict=True):
        text = ast.unparse(argument.annotation) if argument.annotation else "missing"
        try:
            declared[argument.arg] = (text, ... if default is None else ast.literal_eval(default))
        except (ValueError, TypeError):
            raise ConfigError(f"{path}: option {argument.arg!r}: its default is no plain value") from None
    return declared


def check_options(model: str, options: Mapping[str, Any]) -> None:
    """Raise `ConfigError` for the first option that a model does not declare, or whose value is out of range.

    Needs neither torch nor pydantic. Values are plain: what a run's config holds.
    """
    declared = declared_options(model)
    for name, value in options.items():
        if name not in declared:
            raise ConfigError(f"options: {model} has no option {name!r}{nearest(name, declared)}")
        check_value(value, declared[name][0], f"options.{name}", f"{model}: option {name!r}")


def check_value(value: Any, annotation: str, place: str, declared_at: str) -> None:
    """Raise `ConfigError` where a value does not fit the text of an annotation."""
    if annotation == "Dequantiser" and isinstance(value, Mapping):
        check_options(DEQUANTISER, value)
        return
    kinds = _kinds(ast.parse(annotation, mode="eval").body, declared_at)
    if not _fits(value, kinds):
        raise ConfigError(f"{place}: {value!r} is not {_words(kinds)}")


#: What fits an annotation, and the same in words.
_Kind = tuple[Callable[[Any], bool], str]


def _whole(value: Any) -> bool:
    return isinstance(value, int) and not isinstance(value, bool)


def _number(value: Any) -> bool:
    return _whole(value) or (isinstance(value, float) and math.isfinite(value))


_KINDS: dict[str, _Kind] = {
    "PositiveInt": (lambda v: _whole(v) and v >= 1, "a whole number of at least 1"),
    "PositiveInts": (
        lambda v: isinstance(v, list) and bool(v) and all(_whole(n) and n >= 1 for n in v),
        "a list of whole numbers of at least 1",
    ),
    "NonNegativeInt": (lambda v: _whole(v) and v >= 0, "a whole number of at least 0"),
    "PositiveFloat": (lambda v: _number(v) and v > 0, "a number above 0"),
    "NonNegativeFloat": (lambda v: _number(v) and v >= 0, "a number of at least 0"),
    "Probability": (lambda v: _number(v) and 0 <= v < 1, "a number in [0,1)"),
    "Dequantiser": (lambda v: v is None, "the options of a dequantiser, or null"),
    "Margin": (lambda v: v is None or (_number(v) and 0 < v < 0.5), "a number in (0,0.5), or null"),
    "bool": (lambda v: isinstance(v, bool), "true or false"),
    "int": (_whole, "a whole number"),
    "float": (_number, "a number"),
    "str": (lambda v: isinstance(v, str), "text"),
    "list": (lambda v: isinstance(v, list | tuple), "a list"),
    "tuple": (lambda v: isinstance(v, list | tuple), "a list"),  # which JSON makes of it
}


def _kinds(annotation: ast.expr, place: str) -> list[_Kind]:
    """Return the alternatives of an option's annotation; raises `ConfigError` for one that is not known."""
    match annotation:
        case ast.BinOp(left, ast.BitOr(), right):
            return [*_kinds(left, place), *_kinds(right, place)]
        case ast.Constant(None):
            return [(lambda v: v is None, "null")]
        case ast.Subscript(ast.Name("Literal"), choices):
            values = ast.literal_eval(choices)
            values = values if isinstance(values, tuple) else (values,)
            return [(lambda v: v in values, f"one of {', '.join(map(str, values))}")]
        case ast.Name(name) if name in _KINDS:
            return [_KINDS[name]]
        case ast.Subscript(ast.Name("list"), part):
            return [_list(_kinds(part, place))]
        case ast.Subscript(ast.Name("tuple"), ast.Tuple([part, ast.Constant(end)])) if end is ...:
            return [_list(_kinds(part, place))]
        case ast.Subscript(ast.Name("tuple"), ast.Tuple(parts)):
            return [_row([_kinds(part, place) for part in parts])]
    raise ConfigError(f"{place}: annotation {ast.unparse(annotation)!r}; use {', '.join(_KINDS)}, Literal")


def _words(kinds: list[_Kind]) -> str:
    return " or ".join(words for _, words in kinds)


def _fits(value: Any, kinds: list[_Kind]) -> bool:
    return any(fits(value) for fits, _ in kinds)


def _list(kinds: list[_Kind]) -> _Kind:
    """The kind of a list of any length."""
    is_list, _ = _KINDS["list"]
    return lambda v: is_list(v) and all(_fits(part, kinds) for part in v), f"a list, each {_words(kinds)}"


def _row(parts: list[list[_Kind]]) -> _Kind:
    """The kind of a list with one value for each part."""
    is_list, _ = _KINDS["list"]

    def fits(value: Any) -> bool:
        return is_list(value) and len(value) == len(parts) and all(map(_fits, value, parts))

    return fits, f"a list of {', '.join(map(_words, parts))}"


def module_path(module: str) -> Path:
    """Return the file of a model's module, in `marscf.models` or elsewhere; nothing of it is run.

    Raises `ConfigError` where there is none.
    """
    models = Path(__file__).parent / "models"
    if re.fullmatch(r"[^\W\d]\w*(\.[^\W\d]\w*)*", module):
        top, *rest = module.split(".")
        for folder in (models.joinpath(top), *_packages(top)):
            path = folder.joinpath(*rest)
            if (file := path.with_suffix(".py")).is_file() or (file := path / "__init__.py").is_file():
                return file
    known = [path.stem for path in models.glob("[a-z]*.py")]
    raise ConfigError(f"model: no module {module!r} in marscf.models{nearest(module, known)}")


def _packages(top: str) -> list[Path]:
    """Where a top-level module lies, without suffix; of a namespace package each place."""
    try:
        spec = importlib.util.find_spec(top)
    except (ImportError, ValueError):
        return []
    if spec is None:
        return []
    if spec.submodule_search_locations is not None:
        return [Path(folder) for folder in spec.submodule_search_locations]
    return [Path(spec.origin).with_suffix("")] if spec.origin else []
