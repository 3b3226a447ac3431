"""What can go wrong, in one line each: the value, the place, and how to correct it."""

import difflib
import errno
import os
import re
from collections.abc import Iterable

EXIT_USER_ERROR = 2
EXIT_INTERRUPTED = 75  # sysexits' EX_TEMPFAIL: saved, try again


class MarscfError(Exception):
    """Something a user can correct. The command line prints it as one line and exits with `exit_code`."""

    exit_code = EXIT_USER_ERROR


class ConfigError(MarscfError):
    """A name, key or value in `config/` or on the command line is not one that can be used."""


class DataError(MarscfError):
    """A dataset's file is missing, truncated, altered or not of its format."""


class CheckpointError(MarscfError):
    """Weights or training state are damaged, or belong to another config."""


class EvaluationError(MarscfError):
    """A measurement cannot be made, or came out as NaN."""


class Interrupted(MarscfError):
    """Stopped on request (signal or time limit) with everything saved; calling again goes on."""

    exit_code = EXIT_INTERRUPTED


def full_disk(error: BaseException | None) -> str | None:
    """Return the system's words for a full disk, or a full quota, where an error comes from one."""
    while error is not None:
        number = error.errno if isinstance(error, OSError) else None
        if found := re.search(r"\(os error (\d+)\)", str(error)):  # of a library in Rust
            number = int(found[1])
        if number in (errno.ENOSPC, errno.EDQUOT, errno.EFBIG):
            return os.strerror(number)
        error = error.__cause__ or error.__context__
    return None


def printable(message: object) -> str:
    """Return a message as one line: names of files can hold line breaks, and commands for a terminal."""
    return "".join(
        letter if letter.isprintable() else letter.encode("unicode_escape").decode("ascii")
        for letter in str(message)
    )


def nearest(name: str, known: Iterable[str]) -> str:
    """Return `"; did you mean 'x'? (known: …)"` to append to an error about an unknown name."""
    known = sorted(known)
    close = difflib.get_close_matches(name, known, n=1, cutoff=0.5)
    hint = f"; did you mean {close[0]!r}?" if close else ""
    return f"{hint} (known: {', '.join(known)})"
