"""One process trains a run at a time."""

import contextlib
from collections.abc import Iterator
from pathlib import Path

from marscf import files


@contextlib.contextmanager
def locked(folder: Path, needed: bool = True) -> Iterator[None]:
    """Hold the run for this process if `needed`; raises `MarscfError` where another process trains it."""
    refusal = f"{folder} is being trained by {{holder}}; wait or stop it"
    with files.locked(folder, ".lock", refusal) if needed else contextlib.nullcontext():
        yield
