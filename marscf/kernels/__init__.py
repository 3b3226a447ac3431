"""What makes the same numbers fast. The other rooms call it and know nothing of devices or layouts.

A kernel is a plain definition, its fast variants and one function that chooses between them. Inside
`with plain():` every kernel is its definition alone.
"""

import contextlib
import functools
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any, ParamSpec, TypeVar

P = ParamSpec("P")
R = TypeVar("R")

_plain = False


@dataclass(frozen=True)
class Kernel:
    """A function with its definition, and arguments on which the tests compare the two."""

    choose: Callable[..., Any]
    definition: Callable[..., Any]
    example: Callable[[], tuple[Any, ...]]


#: All kernels whose modules were imported, by name.
KERNELS: dict[str, Kernel] = {}


def kernel(
    definition: Callable[P, R], example: Callable[[], tuple[Any, ...]]
) -> Callable[[Callable[P, R]], Callable[P, R]]:
    """Decorate the function that chooses among the fast variants of `definition`.

    `example` makes small arguments: floating tensors in float64, and what else it takes.
    """

    def decorate(choose: Callable[P, R]) -> Callable[P, R]:
        @functools.wraps(choose)
        def call(*args: P.args, **kwargs: P.kwargs) -> R:
            return (definition if _plain else choose)(*args, **kwargs)

        KERNELS[f"{choose.__module__.rpartition('.')[2]}.{choose.__name__}"] = Kernel(
            choose, definition, example
        )
        return call

    return decorate


@contextlib.contextmanager
def plain(on: bool = True) -> Iterator[None]:
    """Use the definitions alone inside the block: nothing is fused, compiled, kept or rearranged."""
    # For all threads: the backward pass of a GPU calls kernels again from its own.
    global _plain
    before, _plain = _plain, on
    try:
        yield
    finally:
        _plain = before


def is_plain() -> bool:
    """Whether the definitions alone are used."""
    return _plain
