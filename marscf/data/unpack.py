"""Unpacking without trust: nothing is written outside, no link is followed, no size is believed."""

import gzip
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import BinaryIO

from marscf.errors import DataError


@contextmanager
def open_gzip(path: Path) -> Iterator[BinaryIO]:
    """Open a gzip file for streaming; damage met while reading ends in `DataError`."""
    try:
        with gzip.open(path, "rb") as stream:
            yield stream
    except (OSError, EOFError, zlib.error) as error:
        raise DataError(f"{path} is damaged or no gzip file ({error}); replace it") from None


def read_gzip(path: Path, limit: int) -> bytes:
    """Decompress a whole gzip file of at most `limit` bytes."""
    with open_gzip(path) as stream:
        content = stream.read(limit + 1)
    if len(content) > limit:
        raise DataError(f"{path} unpacks to more than {limit:,} bytes; replace it with the published file")
    return content
