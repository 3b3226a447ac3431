"""Files written beside their name and renamed, and the hashes that identify them."""

import contextlib
import errno
import fcntl
import glob
import hashlib
import json
import os
import stat
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import IO, Any

from marscf.errors import MarscfError

LARGEST_JSON = 1 << 26  # bytes


@contextlib.contextmanager
def replacing(path: Path | str) -> Iterator[Path]:
    """Yield a temporary path beside `path`; on success it is synced and renamed to `path`, else removed.

    Readers see the old file or the new one, never a part. What killed processes left half written is
    removed. Raises `MarscfError` where the folder can't be written.
    """
    path = Path(path)
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        handle, temporary = _new_beside(path)
    except OSError as error:
        raise MarscfError(f"cannot write {path}: {error.strerror}; choose a writable folder") from error
    try:
        yield temporary
        os.fsync(handle)
        os.chmod(temporary, 0o666 & ~_umask())
        os.replace(temporary, path)
    finally:
        temporary.unlink(missing_ok=True)
        os.close(handle)


def _new_beside(path: Path) -> tuple[int, Path]:
    """Open a new hidden file beside `path`, and lock it."""
    remove_leftovers(path.parent, glob.escape(path.name))
    while True:
        handle, name = tempfile.mkstemp(prefix=f".{path.name}.", suffix=path.suffix, dir=path.parent)
        with contextlib.suppress(OSError):  # no locks on this file system: then nothing is removed either
            fcntl.flock(handle, fcntl.LOCK_EX)
        if _is_at(handle, Path(name)):
            return handle, Path(name)
        os.close(handle)  # another process took it for a leftover before it was locked


def remove_leftovers(folder: Path, *names: str) -> None:
    """Remove what killed processes left half written of a folder's files; `names` may be patterns.

    Whoever writes such a file holds a lock on it, which ends with the process: one without it is left over.
    """
    for left in (path for name in names for path in folder.glob(f".{name}.*")):
        with contextlib.suppress(OSError), open(left, "rb") as stream:
            fcntl.flock(stream, fcntl.LOCK_EX | fcntl.LOCK_NB)
            left.unlink()


def _umask() -> int:
    mask = os.umask(0)
    os.umask(mask)
    return mask


@contextlib.contextmanager
def locked(folder: Path, file: str | None = None, refusal: str | None = None) -> Iterator[None]:
    """Hold a folder, or a file in it, against other processes; the lock ends with the process.

    Waits until it is free. With `refusal` it raises `MarscfError` instead, with these words: `{holder}` in
    them stands for the other process. Raises `MarscfError` where the folder cannot be written. A file system
    without locks is taken as it is.
    """
    path, handle = folder / file if file else folder, -1
    while handle < 0:
        try:
            folder.mkdir(parents=True, exist_ok=True)
            handle = os.open(path, os.O_RDWR | os.O_CREAT if file else os.O_RDONLY, 0o666)
        except OSError as error:
            raise MarscfError(f"cannot write {folder}: {error.strerror}; choose a writable folder") from None
        try:
            fcntl.flock(handle, fcntl.LOCK_EX | (fcntl.LOCK_NB if refusal else 0))
        except BlockingIOError:
            holder = os.read(handle, 100).decode(errors="replace").strip() if file else ""
            os.close(handle)
            raise MarscfError(str(refusal).replace("{holder}", holder or "another process")) from None
        except OSError:
            break  # no locks on this file system
        if not _is_at(handle, path):  # whoever held it has removed it: a third may hold another one
            os.close(handle)
            handle = -1
    try:
        if file:
            os.ftruncate(handle, 0)
            os.pwrite(handle, f"process {os.getpid()}\n".encode(), 0)
        yield
    finally:
        os.close(handle)


def _is_at(handle: int, path: Path) -> bool:
    """Whether an open file is the one that has this name now."""
    try:
        return os.path.samestat(os.fstat(handle), os.stat(path))
    except FileNotFoundError:
        return False


def write_json(path: Path | str, value: Any) -> None:
    """Write `value` as indented JSON, atomically. NaN and infinity are refused: they are errors, not data."""
    text = json.dumps(value, indent=1, allow_nan=False)
    with replacing(path) as temporary:
        temporary.write_text(text + "\n", encoding="utf-8")


def open_regular(path: Path | str, largest: int) -> IO[bytes]:
    """Open a file to read; raises `OSError` for a folder, a pipe, and more than `largest` bytes."""
    try:
        about = os.stat(path)  # before it is opened: a pipe would wait for a writer
    except ValueError as error:  # a name that no file can have
        raise OSError(errno.EINVAL, str(error)) from None
    if not stat.S_ISREG(about.st_mode):
        raise OSError(errno.EINVAL, "it is no regular file")
    if about.st_size > largest:
        raise OSError(errno.EFBIG, f"it has {about.st_size:,} bytes, more than {largest:,}")
    return open(path, "rb")


def read_json(path: Path | str) -> Any:
    """Read a JSON file; raises `MarscfError` naming the file where it is missing or damaged."""
    try:
        with open_regular(path, LARGEST_JSON) as stream:
            return json.loads(stream.read())
    except FileNotFoundError:
        raise MarscfError(f"no such file: {path}") from None
    except (OSError, ValueError, RecursionError) as error:
        raise MarscfError(f"cannot read {path}: {error}; delete it and run the stage again") from error


def sha256_file(path: Path | str) -> str:
    """Hex SHA-256 of a file's bytes."""
    with open(path, "rb") as stream:
        return hashlib.file_digest(stream, "sha256").hexdigest()


def digest(value: Any) -> str:
    """Hex SHA-256 of a JSON value in canonical form (sorted keys, no spaces)."""
    text = json.dumps(value, sort_keys=True, separators=(",", ":"), allow_nan=False)
    return hashlib.sha256(text.encode()).hexdigest()


def seed_from(*names: object) -> int:
    """A 32-bit seed that is a pure function of the names, so that adding a run changes no other."""
    text = "/".join(map(str, names))
    return int.from_bytes(hashlib.sha256(text.encode()).digest()[:4], "big")
