"""Counts the sequential steps that a sampler really takes.

A sequential step is one draw that must wait for the one before it: a channel of a mAR prior, a level of a
Gaussian prior, a sub-pixel of a PixelCNN. Samplers call `tick()` at each; `counted()` adds them up.
"""

import contextlib
from collections.abc import Iterator
from contextvars import ContextVar
from dataclasses import dataclass


@dataclass
class Steps:
    """The number of sequential steps taken inside a `counted()` block."""

    total: int = 0


_current: ContextVar[Steps | None] = ContextVar("sequential_steps", default=None)


def tick(steps: int = 1) -> None:
    """Record that the sampler took `steps` sequential steps (nothing outside `counted()`)."""
    if (counter := _current.get()) is not None:
        counter.total += steps


@contextlib.contextmanager
def counted() -> Iterator[Steps]:
    """Count the steps taken inside the block: `with counted() as steps: model.sample(8)`."""
    counter = Steps()
    token = _current.set(counter)
    try:
        yield counter
    finally:
        _current.reset(token)
