"""The types of model options and of settings; what a model's constructor declares.

A model's constructor signature is the schema of its `options` in `config/systems/`: `marscf.config` reads
the annotations (without importing torch) and checks every YAML against them. These names say which values
are in range; at run time they are plain numbers.
"""

import ast
import importlib.util
from functools import cache
from pathlib import Path
from typing import Any, Literal

from marscf.errors import ConfigError, nearest

PositiveInt = int  # 1, 2, …
NonNegativeInt = int  # 0, 1, …
PositiveFloat = float  # > 0
NonNegativeFloat = float  # ≥ 0
Probability = float  # 0 ≤ p < 1
Margin = float | None  # 0 < m < 1/2, or None

__all__ = [
    "Literal",
    "Margin",
    "NonNegativeFloat",
    "NonNegativeInt",
    "PositiveFloat",
    "PositiveInt",
    "Probability",
    "declared_options",
]

#: name → (annotation as text, default, `...` where there is none)
Declared = dict[str, tuple[str, Any]]


@cache
def declared_options(model: str) -> Declared:
    """Return what a model's constructor takes as keyword-only arguments, read from its source as text.

    `model` is `module.Class`, in `marscf.models` or importable from elsewhere. Raises `ConfigError` where it
    is not found, or a default is not a plain value.
    """
    module, _, class_name = model.rpartition(".")
    path = _module_path(module)
    tree = ast.parse(path.read_text(), str(path))
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


def _module_path(module: str) -> Path:
    own = Path(__file__).parent / "models" / (module.replace(".", "/") + ".py")
    if own.is_file():
        return own
    try:
        spec = importlib.util.find_spec(module) if module else None
    except ModuleNotFoundError:
        spec = None
    if spec is None or not spec.origin:
        known = [path.stem for path in own.parent.glob("[a-z]*.py")]
        raise ConfigError(f"model: no module {module!r} in marscf.models{nearest(module, known)}")
    return Path(spec.origin)
