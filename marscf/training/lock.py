"""One process trains a run at a time."""

import contextlib
import fcntl
import os
from collections.abc import Iterator
from pathlib import Path

from marscf.errors import MarscfError


@contextlib.contextmanager
def locked(folder: Path, needed: bool = True) -> Iterator[None]:
    """Hold the run for this process if `needed`; the lock goes with the process, however that ends.

    Raises `MarscfError` where another process trains the run, or where it can't be written. A file system
    without locks is taken as it is.
    """
    if not needed:
        yield
        return
    path = folder / ".lock"
    try:
        folder.mkdir(parents=True, exist_ok=True)
        descriptor = os.open(path, os.O_RDWR | os.O_CREAT, 0o666)
    except OSError as error:
        raise MarscfError(f"cannot write {folder}: {error.strerror}; choose a writable folder") from None
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        holder = os.read(descriptor, 100).decode(errors="replace").strip()
        os.close(descriptor)
        raise MarscfError(
            f"{folder} is being trained by {holder or 'another process'}; wait or stop it"
        ) from None
    except OSError:
        pass  # no locks on this file system
    try:
        os.ftruncate(descriptor, 0)
        os.pwrite(descriptor, f"process {os.getpid()}\n".encode(), 0)
        yield
    finally:
        os.close(descriptor)
