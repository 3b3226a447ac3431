"""Values derived from parameters (folded weights, inverses), computed once per parameter set."""

from collections.abc import Callable, Iterable
from typing import Any

import torch
from torch import Tensor, nn


class Cached:
    """Keeps what `compute()` returned for as long as its source tensors are the same and unchanged.

    Nothing is kept where a gradient must flow through the value, or while it is being compiled. Changes
    made behind autograd's back (`tensor.data.copy_`) go unseen until `clear()`.
    """

    def __init__(self) -> None:
        self.clear()

    def clear(self) -> None:
        """Forget the value."""
        self._key: Any = None
        self._value: Any = None

    def get(self, sources: list[Tensor], compute: Callable[[], Any], *use: Any) -> Any:
        """Return `compute()`, from memory where `sources`, and what it is for (`use`), are as they were."""
        if torch.compiler.is_compiling() or any(t.is_inference() for t in sources):
            return compute()
        if torch.is_grad_enabled() and any(t.requires_grad for t in sources):
            return compute()
        key = (use, *((t.data_ptr(), t._version, t.dtype, t.device) for t in sources))
        if key != self._key:
            with torch.inference_mode(False), torch.no_grad():
                self._value = compute()
            self._key = key
        return self._value

    def __deepcopy__(self, memo: dict) -> "Cached":
        return Cached()

    def __getstate__(self) -> dict:
        return {"_key": None, "_value": None}


class Caching(nn.Module):
    """A module that keeps values `Cached`; setting its mode forgets them, whatever became of its weights."""

    def train(self, mode: bool = True) -> "Caching":
        """See `nn.Module.train`."""
        _clear(list(vars(self).values()))
        return super().train(mode)


def _clear(values: Iterable[Any]) -> None:
    """Clear what is kept, in lists of lists too."""
    for value in values:
        if isinstance(value, Cached):
            value.clear()
        elif isinstance(value, list):
            _clear(value)
