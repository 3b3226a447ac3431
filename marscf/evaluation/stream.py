"""Arrays on disk, computed batch by batch: an interrupted computation goes on where it was."""

import hashlib
import os
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
from tqdm import tqdm

from marscf.durations import in_words
from marscf.errors import MarscfError
from marscf.files import digest, locked, read_json, write_json

CACHE = Path("data/fidelity-cache")


def place(cache: Path, kind: str, key: dict[str, Any]) -> Path:
    """Return where a cache keeps an array: its name hashes all that it depends on."""
    return cache / kind / f"{digest(key)[:24]}.npy"


def fill(
    path: Path,
    shape: tuple[int, ...],
    dtype: type,
    compute: Callable[[int, int], np.ndarray],
    batch_size: int,
    *,
    desc: str = "",
    progress: bool = False,
) -> np.ndarray:
    """Return the array at `path` as a read-only memory map, computing what it lacks.

    `compute(start, stop)` gives rows `start … stop-1`; `start` is a multiple of `batch_size`. Each batch is
    on disk before the next begins, so that an interruption loses one at most. Rows that are not what was
    written, by their SHA-256, are computed again. Of several processes one computes while the others wait.
    Whatever the rows depend on must be in the file's name. After the first batch it says on stderr, after
    `desc`, how long the others will take.
    """
    marker = path.with_suffix(".json")
    with locked(path.parent, path.with_suffix(".lock").name):
        done, hashed = _rows_done(path, marker) if _fits(path, shape, dtype) else (0, hashlib.sha256())
        if not done:
            marker.unlink(missing_ok=True)
            path.unlink(missing_ok=True)  # another process may be reading it
            np.lib.format.open_memmap(path, mode="w+", dtype=dtype, shape=shape)
        bar = tqdm(total=shape[0], initial=done, unit="image", desc=desc, disable=not progress)
        with bar:
            for start in range(done, shape[0], batch_size):
                stop = min(start + batch_size, shape[0])
                began = time.perf_counter()
                rows: np.ndarray = np.ascontiguousarray(compute(start, stop), dtype)
                _write_rows(path, start, rows)
                hashed.update(rows.data)
                write_json(marker, {"rows": stop, "sha256": hashed.hexdigest()})
                bar.update(stop - start)
                if desc and start == done and stop < shape[0]:
                    seconds = time.perf_counter() - began
                    rest = in_words(seconds * (shape[0] - stop) / (stop - start))
                    tqdm.write(
                        f"{desc}: {shape[0] - stop:,} of {shape[0]:,} images are left, about {rest} "
                        f"({in_words(seconds)} for the first {stop - start})",
                        file=sys.stderr,
                    )
        whole: np.ndarray = np.load(path, mmap_mode="r", allow_pickle=False)
    return whole


def _write_rows(path: Path, start: int, rows: np.ndarray) -> None:
    """Put rows into an array on disk; a full disk is an `OSError` so, through a memory map it is SIGBUS."""
    begins = np.load(path, mmap_mode="r", allow_pickle=False).offset
    with open(path, "r+b") as stream:
        stream.seek(begins + start * rows[0].nbytes)
        stream.write(rows.data)
        stream.flush()
        os.fsync(stream.fileno())


def discard(path: Path) -> None:
    """Remove an array that `fill` made, and what lies beside it."""
    lock = path.with_suffix(".lock")
    with locked(path.parent, lock.name):
        for file in (path, path.with_suffix(".json"), lock):
            file.unlink(missing_ok=True)


def _fits(path: Path, shape: tuple[int, ...], dtype: type) -> bool:
    try:
        array = np.load(path, mmap_mode="r", allow_pickle=False)
    except (OSError, ValueError, EOFError):
        return False
    return array.shape == shape and array.dtype == dtype


def _rows_done(path: Path, marker: Path) -> "tuple[int, hashlib._Hash]":
    """Return how many rows are there, and the hash of them: 0 where they are not what the marker says."""
    hashed = hashlib.sha256()
    try:
        stated = read_json(marker)
        rows = int(stated["rows"])
        for row in np.load(path, mmap_mode="r", allow_pickle=False)[:rows]:
            hashed.update(np.ascontiguousarray(row).data)
        if rows > 0 and hashed.hexdigest() == stated["sha256"]:
            return rows, hashed
    except (MarscfError, KeyError, TypeError, ValueError):
        pass
    return 0, hashlib.sha256()
