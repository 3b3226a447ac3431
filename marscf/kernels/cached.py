"""Values derived from parameters (folded weights, inverses), computed once per parameter set."""

import functools
from collections.abc import Callable
from typing import Any, TypeVar

import torch
from torch import Tensor, nn
from torch.utils.weak import WeakTensorKeyDictionary

from marscf import kernels

R = TypeVar("R")

_generation = 0
_kept = WeakTensorKeyDictionary()


def forget() -> None:
    """Compute every value anew: weights may have changed where autograd did not see it."""
    global _generation
    _generation += 1


def generation() -> int:
    """How often `forget` was called."""
    return _generation


class Cached:
    """Keeps what `compute()` returned for as long as its source tensors are the same and unchanged.

    Nothing is kept where a gradient must flow through the value, or while it is being compiled. Changes that
    autograd does not see (`tensor.data.copy_`) are not seen here either until `forget()`, which a model calls
    when its mode is set.
    """

    def __init__(self) -> None:
        self._key: Any = None
        self._value: Any = None

    def get(self, sources: list[Tensor], compute: Callable[[], R], *use: Any) -> R:
        """Return `compute()`, from memory where `sources`, and what it is for (`use`), are as they were."""
        if not _may_keep(sources):
            return compute()
        key = (_generation, use, *((t.data_ptr(), t._version, t.dtype, t.device) for t in sources))
        if key != self._key:
            with torch.inference_mode(False), torch.no_grad():
                self._value = compute()
            self._key = key
        value: R = self._value
        return value

    def __deepcopy__(self, memo: dict) -> "Cached":
        return Cached()

    def __getstate__(self) -> dict:
        return {"_key": None, "_value": None}


def _may_keep(sources: list[Tensor]) -> bool:
    if torch.compiler.is_compiling() or kernels.is_plain() or any(t.is_inference() for t in sources):
        return False
    return not (torch.is_grad_enabled() and any(t.requires_grad for t in sources))


def kept(sources: list[Tensor], compute: Callable[[], R], *use: Any) -> R:
    """As `Cached.get`: one value, which lives as long as the first of the sources."""
    if not _may_keep(sources):
        return compute()
    if sources[0] not in _kept:
        _kept[sources[0]] = Cached()
    cached: Cached = _kept[sources[0]]
    return cached.get(sources, compute, *use)


def derived(method: Callable[[Any], R]) -> Callable[[Any], R]:
    """Mark a method of a module that depends on its own parameters and buffers alone.

    It is then computed once for as long as they are unchanged and no gradient must flow to them.
    """
    name = f"_derived_{method.__name__}"

    @functools.wraps(method)
    def get(module: nn.Module) -> R:
        if torch.compiler.is_compiling():
            return method(module)
        cached: Cached = vars(module).setdefault(name, Cached())
        sources = [*module.parameters(recurse=False), *module.buffers(recurse=False)]
        return cached.get(sources, lambda: method(module))

    return get
