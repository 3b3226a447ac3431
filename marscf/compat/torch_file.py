"""Files of `torch.save`, read without running anything that they name.

Ours, because torch's own readers do not serve: `weights_only=True` refuses the published files of Residual
Flow, in which whole modules are pickled, and the other mode runs what a file names. Here a class of a file
becomes an inert object, and a tensor a `StoredTensor`, which is read from the file when it is asked for. So
nothing is larger than the file is. Both containers are known: the zip of today, and the one before torch
1.6.
"""

import io
import pickle
import struct
import zipfile
from collections import OrderedDict
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any, ClassVar

import torch
from torch import Tensor

from marscf.errors import CheckpointError

LARGEST_PICKLE = 4 << 20  # bytes; tensors are outside, and the largest published file needs under 2
LARGEST_SIZE = 1 << 40  # numbers in one storage
MAGIC = 0x1950A86A20F9469CFC6C  # of the older container
PROTOCOL = 1001
#: Packages whose classes become inert objects. A file that names anything else is refused.
PACKAGES = {
    "torch",
    "lib",
    "resflows",
    "numpy",
    "argparse",
    "ignite",
    "collections",
    "builtins",
    "__builtin__",
}
REFUSED = {"eval", "exec", "compile", "open", "__import__", "getattr", "input", "breakpoint"}
DTYPES = {
    "FloatStorage": torch.float32,
    "DoubleStorage": torch.float64,
    "HalfStorage": torch.float16,
    "BFloat16Storage": torch.bfloat16,
    "LongStorage": torch.int64,
    "IntStorage": torch.int32,
    "ShortStorage": torch.int16,
    "CharStorage": torch.int8,
    "ByteStorage": torch.uint8,
    "BoolStorage": torch.bool,
}


class Inert:
    """Stands for an object of a class that the file names. It has the attributes and does nothing."""

    def __init__(self, *args: Any):
        self.args = args

    def __setstate__(self, state: Any) -> None:
        if isinstance(state, dict):
            vars(self).update((key, value) for key, value in state.items() if isinstance(key, str))


@dataclass(frozen=True)
class Storage:
    """Numbers of one type in the file."""

    dtype: torch.dtype
    key: str
    numel: int


@dataclass(frozen=True)
class StoredTensor:
    """A tensor that is still in the file; sizes are counted in numbers."""

    storage: Storage
    offset: int
    shape: tuple[int, ...]
    strides: tuple[int, ...]


class TorchFile:
    """One file of `torch.save`; `content` is what was saved, with a `StoredTensor` for each tensor.

    Raises `CheckpointError`, in one line, for whatever is wrong with the file.
    """

    def __init__(self, path: str | Path):
        self.path = Path(path)
        self._places: dict[str, tuple[int, int]] = {}  # storage -> first byte in the file, number of bytes
        try:
            self._stream = open(self.path, "rb")  # noqa: SIM115, closed by close()
        except OSError as error:
            raise CheckpointError(f"cannot read {self.path}: {error.strerror}") from None
        try:
            zipped = zipfile.is_zipfile(self._stream)
            self.content: Any = self._read_zip() if zipped else self._read_legacy()
        except Exception as error:  # a foreign file can make a reader fail in any way
            self.close()
            reason = " ".join(str(error).split())[:200] or type(error).__name__
            raise CheckpointError(f"{self.path} cannot be read as a file of torch.save: {reason}") from None

    def __enter__(self) -> "TorchFile":
        return self

    def __exit__(self, *error: object) -> None:
        self.close()

    def close(self) -> None:
        """Close the file. Tensors cannot be read afterwards."""
        self._stream.close()

    def tensor(self, stored: StoredTensor, name: str) -> Tensor:
        """Read a tensor; raises `CheckpointError`, with `name`, where its numbers are not all in the file."""
        storage, width = stored.storage, stored.storage.dtype.itemsize
        first_byte, size = self._places.get(storage.key, (0, -1))
        numel = 1
        for side in stored.shape:
            numel *= side
        steps = [(side - 1) * stride for side, stride in zip(stored.shape, stored.strides, strict=True)]
        span = sum(steps) + 1 if numel else 0
        if size != storage.numel * width or max(stored.offset + span, numel) > storage.numel:
            raise CheckpointError(f"{self.path}: {name!r} claims numbers that are not in the file")
        if numel == 0:
            return torch.empty(stored.shape, dtype=storage.dtype)
        self._stream.seek(first_byte + stored.offset * width)
        numbers = torch.frombuffer(bytearray(self._stream.read(span * width)), dtype=storage.dtype)
        return numbers.as_strided(stored.shape, stored.strides).contiguous()

    # ---- the two containers

    def _read_zip(self) -> Any:
        length = self._stream.seek(0, io.SEEK_END)
        with zipfile.ZipFile(self._stream) as archive:
            entries = archive.infolist()
            if any(entry.compress_type != zipfile.ZIP_STORED for entry in entries):
                raise CheckpointError("its records are compressed; torch.save never does that")
            if sum(entry.file_size for entry in entries) > length:
                raise CheckpointError("its records claim more bytes than the file has")
            pickles = [entry for entry in entries if entry.filename.split("/")[1:] == ["data.pkl"]]
            if len(pickles) != 1:
                raise CheckpointError("it is a zip without the record data.pkl")
            folder = pickles[0].filename.removesuffix("data.pkl")
            for entry in entries:
                if entry.filename == f"{folder}byteorder" and archive.read(entry) != b"little":
                    raise CheckpointError("its numbers are big-endian")
                if entry.filename.startswith(f"{folder}data/"):
                    key = entry.filename.removeprefix(f"{folder}data/")
                    self._places[key] = (self._first_byte(entry), entry.file_size)
            return _Unpickler(io.BytesIO(archive.read(pickles[0]))).load()

    def _first_byte(self, entry: zipfile.ZipInfo) -> int:
        """Where a record that is not compressed begins: after its local header."""
        self._stream.seek(entry.header_offset)
        header = self._stream.read(30)
        if header[:4] != b"PK\x03\x04":
            raise CheckpointError("a record has no header")
        name, extra = struct.unpack("<HH", header[26:30])
        return entry.header_offset + 30 + int(name) + int(extra)

    def _read_legacy(self) -> Any:
        """Read magic number, protocol, system, content and keys, each a pickle; find the storages behind."""
        length = self._stream.seek(0, io.SEEK_END)
        self._stream.seek(0)
        if _Unpickler(self._stream).load() != MAGIC or _Unpickler(self._stream).load() != PROTOCOL:
            raise CheckpointError("its first bytes are not those of torch.save")
        if _Unpickler(self._stream).load().get("little_endian") is not True:
            raise CheckpointError("its numbers are big-endian")
        unpickler = _Unpickler(self._stream)
        content = unpickler.load()
        keys = _Unpickler(self._stream).load()
        position = self._stream.tell()
        for key in keys:
            storage = unpickler.storages[key]
            self._stream.seek(position)
            (numel,) = struct.unpack("<q", self._stream.read(8))
            size = numel * storage.dtype.itemsize
            if numel < 0 or position + 8 + size > length:
                raise CheckpointError(f"it is cut short at byte {position:,}")
            self._places[storage.key] = (position + 8, size)
            position += 8 + size
        return content


class _Bounded:
    """A stream of which one pickle is read, and not more than is reasonable."""

    def __init__(self, stream: IO[bytes]):
        self.stream, self.left = stream, LARGEST_PICKLE

    def read(self, count: int) -> bytes:
        self._spend(count)
        return self.stream.read(count)

    def readline(self) -> bytes:
        line = self.stream.readline(1000)
        self._spend(len(line))
        return line

    def _spend(self, count: int) -> None:
        self.left -= count
        if self.left < 0:
            raise CheckpointError(f"a pickle in it is larger than {LARGEST_PICKLE >> 20} MiB")


# The standard library has an unpickler in Python. Its table of operations is a short one here, and its memory
# grows with what it reads. The one in C reserves memory by numbers that the file states.
class _Unpickler(pickle._Unpickler):
    """Makes lists, dicts, numbers, text, `StoredTensor` and `Inert`, and calls nothing else."""

    def __init__(self, stream: IO[bytes]):
        super().__init__(_Bounded(stream), encoding="latin1")
        self.storages: dict[Any, Storage] = {}
        self._classes: dict[tuple[str, str], Any] = {
            ("collections", "OrderedDict"): _ordered_dict,
            ("torch._utils", "_rebuild_tensor_v2"): _tensor,
            ("torch._utils", "_rebuild_tensor"): _tensor,
            ("torch._utils", "_rebuild_parameter"): _parameter,
        }

    def find_class(self, module: str, name: str) -> Any:
        """Return what stands for a class or function that the file names."""
        if module.partition(".")[0] not in PACKAGES or name in REFUSED:
            raise CheckpointError(f"it names {module[:100]}.{name[:100]}, which no weights need")
        if (module, name) not in self._classes:
            self._classes[module, name] = type(name, (Inert,), {})
        return self._classes[module, name]

    def persistent_load(self, pid: Any) -> Any:
        """Return a storage, or the class of a module that was saved with its source."""
        if isinstance(pid, tuple) and len(pid) > 1 and pid[0] == "module":
            return pid[1]
        if not isinstance(pid, tuple) or len(pid) < 5 or pid[0] != "storage" or not isinstance(pid[1], type):
            raise CheckpointError("it has a reference that torch.save does not make")
        kind, key, view = pid[1].__name__, pid[2], pid[5:] not in ((), (None,))
        if kind not in DTYPES or view or not isinstance(key, (str, int)):
            raise CheckpointError(f"it has numbers of a kind that is not known, {kind[:100]}")
        return self.storages.setdefault(key, Storage(DTYPES[kind], str(key), _size(pid[4])))

    # ---- the operations of torch's pickles; all else is unknown

    dispatch: ClassVar = {
        ord(operation): pickle._Unpickler.dispatch[ord(operation)]
        for operation in (
            *(pickle.PROTO, pickle.STOP, pickle.MARK, pickle.NONE, pickle.NEWTRUE, pickle.NEWFALSE),
            *(pickle.BININT, pickle.BININT1, pickle.BININT2, pickle.LONG1, pickle.BINFLOAT),
            *(
                pickle.BINUNICODE,
                pickle.SHORT_BINSTRING,
                pickle.BINSTRING,
                pickle.EMPTY_LIST,
                pickle.EMPTY_TUPLE,
            ),
            *(pickle.EMPTY_DICT, pickle.TUPLE, pickle.TUPLE1, pickle.TUPLE2, pickle.TUPLE3, pickle.APPEND),
            *(pickle.APPENDS, pickle.GLOBAL, pickle.REDUCE, pickle.BUILD, pickle.NEWOBJ, pickle.BINPERSID),
            *(pickle.BINPUT, pickle.LONG_BINPUT, pickle.BINGET, pickle.LONG_BINGET),
        )
    }


def _checked_keys(items: list[Any]) -> None:
    """Refuse keys other than text and numbers: the hash of nested tuples can take for ever."""
    if any(not isinstance(key, (str, int, float)) for key in items):
        raise CheckpointError("it has a dict whose keys are neither text nor numbers")


def _setitems(unpickler: Any) -> None:
    items = unpickler.pop_mark()
    _set(unpickler, items)


def _setitem(unpickler: Any) -> None:
    value, key = unpickler.stack.pop(), unpickler.stack.pop()
    _set(unpickler, [key, value])


def _set(unpickler: Any, items: list[Any]) -> None:
    target = unpickler.stack[-1]
    if not isinstance(target, dict) or len(items) % 2:
        raise CheckpointError("it has items without a dict")
    _checked_keys(items[::2])
    target.update(zip(items[::2], items[1::2], strict=True))


_Unpickler.dispatch[ord(pickle.SETITEM)] = _setitem
_Unpickler.dispatch[ord(pickle.SETITEMS)] = _setitems


def _size(value: Any) -> int:
    if type(value) is not int or not 0 <= value < LARGEST_SIZE:
        raise CheckpointError("it has a tensor of an impossible size")
    return value


def _ordered_dict(pairs: Any = ()) -> OrderedDict:
    _checked_keys([key for key, _ in pairs])
    return OrderedDict(pairs)


def _tensor(storage: Any, offset: Any, shape: Any, strides: Any, *_: Any) -> StoredTensor:
    if not isinstance(storage, Storage) or len(shape) != len(strides) or len(shape) > 8:
        raise CheckpointError("it has a tensor that torch.save does not make")
    return StoredTensor(storage, _size(offset), tuple(map(_size, shape)), tuple(map(_size, strides)))


def _parameter(data: Any, *_: Any) -> Any:
    return data
