"""Files of `torch.save`, read without running anything that they name.

Ours, because torch's own readers do not serve: `weights_only=True` refuses the published files of Residual
Flow, in which whole modules are pickled, and the other mode runs what a file names. Here pickles are read by
`marscf.compat.torch_pickle`, and tensors when they are asked for, so nothing is larger than the file is. Both
containers are known: the zip of today, and the one before torch 1.6.
"""

import io
import struct
import zipfile
import zlib
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from marscf.compat.torch_pickle import LARGEST_PICKLE, Bounded, StoredTensor, Unpickler, check_keys
from marscf.data.untrusted.unpack import Parts
from marscf.errors import CheckpointError, DataError
from marscf.files import open_regular

LARGEST_FILE = 1 << 32  # bytes; the largest published one has a quarter
MAGIC = 0x1950A86A20F9469CFC6C  # of the older container
PROTOCOL = 1001
ENCRYPTED = 0x41  # bits of a zip's flags
BLOCK = 1 << 20  # bytes read at once


@dataclass(frozen=True)
class _Place:
    """Where a storage is: its first byte, the number of bytes, and their CRC-32 where one is stated."""

    first: int
    size: int
    crc: int = 0


class TorchFile:
    """One file of `torch.save`; `content` is what was saved, with a `StoredTensor` for each tensor.

    Raises `CheckpointError`, in one line, for whatever is wrong with the file.
    """

    def __init__(self, path: str | Path):
        self.path = Path(path)
        self._places: dict[str, _Place] = {}
        try:
            self._stream = open_regular(self.path, LARGEST_FILE)
        except OSError as error:
            raise CheckpointError(f"cannot read {self.path}: {error.strerror}") from None
        self.length = self._stream.seek(0, io.SEEK_END)
        self._left = self.length  # bytes that tensors may still be made of
        try:
            self._stream.seek(0)
            zipped = self._stream.read(4) == b"PK\x03\x04"  # as torch tells them apart
            self.content: Any = self._read_zip() if zipped else self._read_legacy()
        except Exception as error:  # a foreign file can make a reader fail in any way
            self.close()
            reason = " ".join(str(error).split())[:200] or type(error).__name__
            if not isinstance(error, CheckpointError | DataError | OSError | zipfile.BadZipFile):
                reason = f"it is damaged ({reason})"
            raise CheckpointError(f"{self.path} cannot be read as a file of torch.save: {reason}") from None

    def __enter__(self) -> "TorchFile":
        return self

    def __exit__(self, *error: object) -> None:
        self.close()

    def close(self) -> None:
        """Close the file. Tensors cannot be read afterwards."""
        self._stream.close()

    def tensor(self, stored: StoredTensor, name: str) -> Tensor:
        """Read a tensor; raises `CheckpointError`, with `name`, where its numbers are not all in the file.

        All tensors together take no more bytes than the file has: a file's tensors may share their numbers,
        and a small one could fill the memory so.
        """
        storage, width = stored.storage, stored.storage.dtype.itemsize
        place = self._places.get(storage.key, _Place(0, -1))
        numel = 1
        for side in stored.shape:
            numel *= side
        steps = [(side - 1) * stride for side, stride in zip(stored.shape, stored.strides, strict=True)]
        span = sum(steps) + 1 if numel else 0
        if place.size != storage.numel * width or max(stored.offset + span, numel) > storage.numel:
            raise CheckpointError(f"{self.path}: {name!r} claims numbers that are not in the file")
        self._left -= max(span, numel) * width
        if self._left < 0:
            raise CheckpointError(f"{self.path}: {name!r} shares its numbers with other tensors")
        if numel == 0:
            return torch.empty(stored.shape, dtype=storage.dtype)
        self._check(storage.key, name)
        content = bytearray(span * width)
        self._stream.seek(place.first + stored.offset * width)
        if self._stream.readinto(content) != len(content):  # type: ignore[attr-defined]
            raise CheckpointError(f"{self.path} was cut short while it was read")
        return (
            torch.frombuffer(content, dtype=storage.dtype)
            .as_strided(stored.shape, stored.strides)
            .contiguous()
        )

    def _check(self, key: str, name: str) -> None:
        """Raise `CheckpointError` where a storage is not what its checksum says; do so once."""
        place = self._places[key]
        if not place.crc:
            return  # the older container states none, and torch can be told to write 0
        self._stream.seek(place.first)
        crc = 0
        for start in range(0, place.size, BLOCK):
            crc = zlib.crc32(self._stream.read(min(BLOCK, place.size - start)), crc)
        if crc != place.crc:
            raise CheckpointError(f"{self.path}: {name!r} is damaged: its checksum is another")
        self._places[key] = _Place(place.first, place.size)

    # ---- the two containers

    def _read_zip(self) -> Any:
        with zipfile.ZipFile(Parts(self._stream, LARGEST_PICKLE)) as archive:
            entries = {entry.filename: entry for entry in archive.infolist()}
            if len(entries) != len(archive.infolist()):
                raise CheckpointError("two of its records have one name")
            for entry in entries.values():
                if entry.compress_type != zipfile.ZIP_STORED or entry.file_size != entry.compress_size:
                    raise CheckpointError("its records are compressed; torch.save never does that")
                if entry.flag_bits & ENCRYPTED:
                    raise CheckpointError("its records are encrypted; torch.save never does that")
            pickles = [name for name in entries if name.split("/")[1:] == ["data.pkl"]]
            if len(pickles) != 1:
                raise CheckpointError(f"it is a zip with {len(pickles)} records data.pkl, not with one")
            folder = pickles[0].removesuffix("data.pkl")
            places = {name: self._place(entry) for name, entry in entries.items()}
            if f"{folder}byteorder" in places and self._record(places[f"{folder}byteorder"]) != b"little":
                raise CheckpointError("its numbers are big-endian")
            data = f"{folder}data/"
            self._places = {
                name.removeprefix(data): place for name, place in places.items() if name.startswith(data)
            }
            return Unpickler(Bounded(io.BytesIO(self._record(places[pickles[0]])))).load()

    def _record(self, place: _Place) -> bytes:
        """A record that is read at once."""
        if place.size > LARGEST_PICKLE:
            raise CheckpointError(f"a part of it is larger than {LARGEST_PICKLE >> 20} MiB")
        self._stream.seek(place.first)
        content = self._stream.read(place.size)
        if place.crc not in (0, zlib.crc32(content)):
            raise CheckpointError("a record is damaged: its checksum is another")
        return content

    def _place(self, entry: zipfile.ZipInfo) -> _Place:
        """Where a record that is not compressed is: after its local header."""
        self._stream.seek(entry.header_offset)
        header = self._stream.read(30)
        if len(header) < 30 or header[:4] != b"PK\x03\x04":
            raise CheckpointError("a record has no header")
        name, extra = struct.unpack("<HH", header[26:30])
        place = _Place(entry.header_offset + 30 + name + extra, entry.file_size, entry.CRC)
        if place.first + place.size > self.length:
            raise CheckpointError("its records claim more bytes than the file has")
        return place

    def _read_legacy(self) -> Any:
        """Read magic number, protocol, system, content and keys, each a pickle; find the storages behind."""
        self._stream.seek(0)
        bounded = Bounded(self._stream)
        if Unpickler(bounded).load() != MAGIC or Unpickler(bounded).load() != PROTOCOL:
            raise CheckpointError("its first bytes are not those of torch.save")
        system = Unpickler(bounded).load()
        if not isinstance(system, dict) or system.get("little_endian") is not True:
            raise CheckpointError("its numbers are big-endian")
        unpickler = Unpickler(bounded)
        content = unpickler.load()
        keys = Unpickler(bounded).load()
        if not isinstance(keys, list):
            raise CheckpointError("it does not list its storages")
        check_keys(keys)
        keys = [str(key) for key in keys]
        if len(set(keys)) != len(keys) or not unpickler.storages.keys() >= set(keys):
            raise CheckpointError("it lists other storages than its tensors have")
        position = self._stream.tell()
        for key in keys:
            storage = unpickler.storages[key]
            self._stream.seek(position)
            head = self._stream.read(8)
            size = storage.numel * storage.dtype.itemsize
            if len(head) < 8 or position + 8 + size > self.length:
                raise CheckpointError(f"it is cut short at byte {position:,}")
            if struct.unpack("<q", head) != (storage.numel,):
                raise CheckpointError(
                    f"it has a storage of another size than its tensors say, at byte {position:,}"
                )
            self._places[storage.key] = _Place(position + 8, size)
            position += 8 + size
        return content
