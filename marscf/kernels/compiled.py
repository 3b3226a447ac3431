"""Functions that torch.compile turns into few kernels where they are asked to be.

By `training.compile` in training, and everywhere by `MARSCF_COMPILE=1` in the environment.
"""

import contextlib
import functools
from collections.abc import Callable, Iterator
from typing import ParamSpec, TypeVar

import torch

from marscf import kernels
from marscf.environment import switch

P = ParamSpec("P")
R = TypeVar("R")

VARIANTS = 64  # of one function: shapes of the levels, dropout, gradients and precision on or off
_on = switch("MARSCF_COMPILE")


@contextlib.contextmanager
def fusing(on: bool = True) -> Iterator[None]:
    """Compile what is `fused` inside the block, or do not, at its first call with each shape."""
    global _on
    before, _on = _on, on
    try:
        yield
    finally:
        _on = before


def fused(function: Callable[P, R]) -> Callable[P, R]:
    """Mark a function of tensors that is compiled while `fusing`; otherwise it runs as it is.

    What is marked is small and used many times: compiling a whole flow takes minutes and gains little more.
    """
    compiled: Callable[P, R] | None = None

    @functools.wraps(function)
    def call(*args: P.args, **kwargs: P.kwargs) -> R:
        nonlocal compiled
        if not _on or kernels.is_plain() or torch.compiler.is_compiling():
            return function(*args, **kwargs)
        if compiled is None:
            from torch._dynamo import config  # seconds, so not before it is needed

            config.recompile_limit = max(VARIANTS, config.recompile_limit)
            compiled = torch.compile(function, dynamic=False)
        return compiled(*args, **kwargs)

    return call
