"""One file from one of several addresses: resumed, retried, and hashed while it streams.

The checksum decides what is right, not what a server says about ranges or lengths.
"""

import hashlib
import http.client
import os
import re
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO

from tqdm import tqdm

from marscf.errors import DataError

TIMEOUT = 30.0  # seconds without a byte before a connection is given up
ATTEMPTS = 5  # in a row without a new byte, at each address
LARGEST = 1 << 36  # bytes, where the size is not known
BLOCK = 1 << 20  # bytes
FINAL = {400, 401, 403, 404, 405, 410, 451}  # answers that asking again does not change


@dataclass(frozen=True)
class Expected:
    """What is known of a file before it is there."""

    algorithm: str = "sha256"
    checksum: str | None = None  # hex; None accepts any content, to be judged when decoded
    bytes: int | None = None


class _Refused(Exception):
    """An address answered in a way that asking again does not change."""


class _Part:
    """The part of a file that is already here, and the hash of it."""

    def __init__(self, path: Path, expected: Expected):
        self.path, self.expected = path, expected
        self.limit = expected.bytes or LARGEST
        self.stream = open(path, "ab+")  # noqa: SIM115, closed by download()
        self._hash_what_is_there()

    def _hash_what_is_there(self) -> None:
        self.hash, self.size = hashlib.new(self.expected.algorithm), 0
        self.stream.seek(0)
        while block := self.stream.read(BLOCK):
            self.hash.update(block)
            self.size += len(block)
        if self.size > self.limit:
            self.restart()

    def restart(self) -> None:
        """Throw away what is here."""
        self.stream.truncate(0)
        self.hash, self.size = hashlib.new(self.expected.algorithm), 0

    def append(self, block: bytes) -> None:
        """Write more; raises `_Refused` beyond the size that is expected."""
        if self.size + len(block) > self.limit:
            self.restart()
            raise _Refused(f"sends more than the {self.limit:,} bytes of the file")
        self.stream.write(block)
        self.hash.update(block)
        self.size += len(block)

    def complete(self, promised: int | None) -> bool:
        """Whether this is the whole file; `promised` is the server's word, where nothing better is known."""
        size = self.expected.bytes or promised
        if self.expected.checksum:
            return self.hash.hexdigest() == self.expected.checksum
        return size is None or self.size == size


def download(urls: list[str], target: Path, expected: Expected) -> str:
    """Fetch `target` from the first address that delivers it, through `target.part`; return that address.

    A broken download continues where it stopped, in this call or the next. Raises `DataError` naming each
    address and why it failed.
    """
    failures = []
    path = target.with_name(target.name + ".part")
    try:
        target.parent.mkdir(parents=True, exist_ok=True)
        part = _Part(path, expected)
    except OSError as error:
        raise DataError(f"cannot write {path}: {error.strerror}; choose another --root") from None
    try:
        for url in urls:
            try:
                _fetch(url, part, target.name)
                part.stream.flush()
                os.fsync(part.stream.fileno())
                os.replace(path, target)
                return url
            except _Refused as error:
                failures.append(f"{url} ({error})")
    finally:
        part.stream.close()
    raise DataError(
        f"cannot download {target.name} from {'; '.join(failures) or 'any address'}; check the network, "
        f"or put the file at {target}"
    )


def _fetch(url: str, part: _Part, name: str) -> None:
    """Fill the part from one address; raises `_Refused` when the address does not deliver it."""
    if not part.expected.checksum:
        part.restart()  # nothing could tell whether what an earlier call left belongs to this file
    elif part.complete(None):
        return  # an earlier call was stopped just before the renaming
    idle, furthest, mismatches, reason = 0, part.size, 0, ""
    while idle < ATTEMPTS:
        try:
            with _opened(url, part.size) as (stream, start, promised):
                if start != part.size:
                    part.restart()
                total = part.expected.bytes or promised
                with tqdm(
                    total=total,
                    initial=part.size,
                    unit="B",
                    unit_scale=True,
                    desc=name,
                    disable=None,
                    leave=False,
                ) as bar:
                    while block := stream.read1(BLOCK) if hasattr(stream, "read1") else stream.read(BLOCK):
                        part.append(block)
                        bar.update(len(block))
            if part.complete(promised):
                return
            if part.size >= (part.expected.bytes or promised or 0):
                mismatches += 1
                reason = (
                    f"its {part.expected.algorithm} is {part.hash.hexdigest()[:12]}…, not the published one"
                )
                part.restart()
                if mismatches > 1:  # the first may be due to what an earlier call had left
                    raise _Refused(reason)
                continue
            reason = f"ended after {part.size:,} bytes"
        except urllib.error.HTTPError as error:
            reason = f"answers {error.code} {' '.join(str(error.reason).split())}"
            if error.code == 416:  # nothing after what is here, yet that is not the file
                if part.complete(None) and part.size:
                    return
                part.restart()
            elif error.code in FINAL or error.code < 400:
                raise _Refused(reason) from None
        except (OSError, http.client.HTTPException, ValueError) as error:
            reason = str(getattr(error, "reason", "") or error) or type(error).__name__
        idle, furthest = (0, part.size) if part.size > furthest else (idle + 1, furthest)
        if idle < ATTEMPTS:
            time.sleep(min(0.5 * 2**idle, 30))
    raise _Refused(f"{reason}, {ATTEMPTS} times")


@contextmanager
def _opened(url: str, offset: int) -> Iterator[tuple[BinaryIO, int, int | None]]:
    """Open an address at an offset; yield the stream, its real start, and the file's promised size."""
    if not url.startswith(("http://", "https://")):
        with _opened_by_fsspec(url, offset) as opened:
            yield opened
        return
    headers = {"User-Agent": "marscf", "Accept-Encoding": "identity"}
    if offset:
        headers["Range"] = f"bytes={offset}-"
    with urllib.request.urlopen(urllib.request.Request(url, headers=headers), timeout=TIMEOUT) as answer:
        length = answer.headers.get("Content-Length", "")
        size = int(length) if length.isdecimal() else None
        if answer.status == 206:
            match = re.fullmatch(r"bytes (\d+)-\d+/(\d+|\*)", answer.headers.get("Content-Range", ""))
            if not match or int(match[1]) != offset:
                raise OSError(
                    f"answers another range than was asked for: {answer.headers.get('Content-Range')}"
                )
            yield answer, offset, int(match[2]) if match[2].isdecimal() else None
        else:
            yield answer, 0, size


@contextmanager
def _opened_by_fsspec(url: str, offset: int) -> Iterator[tuple[BinaryIO, int, int | None]]:
    import fsspec

    try:
        with fsspec.open(url, "rb") as stream:
            stream.seek(offset)
            yield stream, offset, getattr(stream, "size", None)
    except (FileNotFoundError, ImportError, ValueError) as error:
        raise _Refused(str(error) or "no such file") from None
    except _Refused:
        raise
    except Exception as error:  # each of fsspec's backends has its own kinds
        raise OSError(f"{type(error).__name__}: {error}") from None
