"""The pickles in files of `torch.save`, read without running anything that they name.

A class of a file becomes an inert class, and a tensor a `StoredTensor`, which is read from the file when it
is asked for. Time and memory are bounded by the bytes of the pickles: whatever copies a thing that was read
before is counted as if it were read again.
"""

import gc
import pickle
from collections import OrderedDict
from collections.abc import Callable
from dataclasses import dataclass
from typing import IO, Any, ClassVar

import torch

from marscf.errors import CheckpointError

LARGEST_PICKLE = 4 << 20  # bytes; tensors are outside, and the largest published file needs under 2
LARGEST_SIZE = 1 << 40  # numbers in one storage
LARGEST_KEY = 1 << 60  # of a dict: Python's own hash makes larger ones collide at will
MOST_CLASSES = 1000
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
    "ComplexFloatStorage": torch.complex64,
    "ComplexDoubleStorage": torch.complex128,
    "LongStorage": torch.int64,
    "IntStorage": torch.int32,
    "ShortStorage": torch.int16,
    "CharStorage": torch.int8,
    "ByteStorage": torch.uint8,
    "UntypedStorage": torch.uint8,
    "BoolStorage": torch.bool,
}


class Inert:
    """Stands for an object of a class that the file names. It has the attributes and does nothing."""

    def __init__(self, *args: Any):
        self.args = args


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


class Bounded:
    """A stream of pickles, of which not more than is reasonable is read."""

    def __init__(self, stream: IO[bytes]):
        self.stream, self.left = stream, LARGEST_PICKLE

    def read(self, count: int) -> bytes:
        """Read some bytes."""
        self.left -= count  # as `spend` does, once for each operation
        if self.left < 0:
            self.spend(0)
        return self.stream.read(count)

    def readline(self) -> bytes:
        """Read a line."""
        line = self.stream.readline(1000)
        self.spend(len(line))
        return line

    def spend(self, count: int) -> None:
        """Count what is read, or copied; raises `CheckpointError` where it is too much."""
        self.left -= count
        if self.left < 0:
            raise CheckpointError(f"its pickles unfold to more than {LARGEST_PICKLE >> 20} MiB")


# The standard library has an unpickler in Python. Its table of operations is a short one here, and its memory
# grows with what it reads. The one in C reserves memory by numbers that the file states.
class Unpickler(pickle._Unpickler):
    """Makes lists, dicts, numbers, text, `StoredTensor` and `Inert`, and calls nothing else."""

    stack: list[Any]
    pop_mark: Callable[[], list[Any]]  # since the last mark

    def __init__(self, stream: Bounded):
        super().__init__(stream, encoding="latin1")
        self.bounded = stream
        self.storages: dict[str, Storage] = {}
        self._classes: dict[tuple[str, str], Any] = {
            ("collections", "OrderedDict"): _ordered_dict,
            ("torch._utils", "_rebuild_tensor_v2"): _tensor,
            ("torch._utils", "_rebuild_tensor_v3"): _untyped,
            ("torch._utils", "_rebuild_tensor"): _tensor,
            ("torch._utils", "_rebuild_parameter"): _parameter,
        }

    def load(self) -> Any:
        """Read one pickle. Nothing is collected meanwhile: among millions of objects that takes most time."""
        collects = gc.isenabled()
        gc.disable()
        try:
            return super().load()
        finally:
            if collects:
                gc.enable()

    def find_class(self, module: str, name: str) -> Any:
        """Return what stands for a class or function that the file names."""
        if module.partition(".")[0] not in PACKAGES or name in REFUSED:
            raise CheckpointError(f"it names {module[:100]}.{name[:100]}, which no weights need")
        if (module, name) not in self._classes:
            if len(self._classes) > MOST_CLASSES:
                raise CheckpointError(f"it names more than {MOST_CLASSES} classes")
            self._classes[module, name] = type(name, (Inert,), {})
        return self._classes[module, name]

    def persistent_load(self, pid: Any) -> Any:
        """Return a storage, or the class of a module that was saved with its source."""
        if isinstance(pid, tuple) and 1 < len(pid) < 7 and pid[0] == "module":
            return pid[1]
        if (
            not isinstance(pid, tuple)
            or not 4 < len(pid) < 7
            or pid[0] != "storage"
            or not isinstance(pid[1], type)
        ):
            raise CheckpointError("it has a reference that torch.save does not make")
        kind, key = pid[1].__name__, pid[2]
        if kind not in DTYPES or pid[5:] not in ((), (None,)):
            raise CheckpointError(f"it has numbers of a kind that is not known, {kind[:100]}")
        check_keys([key])
        storage = Storage(DTYPES[kind], str(key), _size(pid[4]))
        self.storages.setdefault(storage.key, storage)
        return storage

    def _call(self) -> None:
        """Call an inert class, or one of our functions."""
        args, called = self.stack.pop(), self.stack.pop()
        ours = called in (_ordered_dict, _tensor, _untyped, _parameter)
        if not isinstance(args, tuple) or not (ours or isinstance(called, type)):
            raise CheckpointError("it calls what can't be called")
        self.bounded.spend(len(args) + sum(len(part) for part in args[:1] if isinstance(part, list | tuple)))
        self.stack.append(called(*args))

    def _build(self) -> None:
        """Give an inert object its attributes. Dicts of tensors have some as well; nobody needs them."""
        state = self.stack.pop()
        target = self.stack[-1]
        if isinstance(target, Inert) and isinstance(state, dict):
            self.bounded.spend(len(state))
            vars(target).update((key, value) for key, value in state.items() if isinstance(key, str))
        elif not isinstance(target, Inert | OrderedDict):
            raise CheckpointError("it gives attributes to what has none")

    def _set_items(self) -> None:
        self._set(self.pop_mark())

    def _set_item(self) -> None:
        value, key = self.stack.pop(), self.stack.pop()
        self._set([key, value])

    def _set(self, items: list[Any]) -> None:
        target = self.stack[-1]
        if not isinstance(target, dict) or len(items) % 2:
            raise CheckpointError("it has items without a dict")
        check_keys(items[::2])
        target.update(zip(items[::2], items[1::2], strict=True))

    def _append_items(self) -> None:
        self._append(self.pop_mark())

    def _append_item(self) -> None:
        self._append([self.stack.pop()])

    def _append(self, items: list[Any]) -> None:
        if type(self.stack[-1]) is not list:
            raise CheckpointError("it has items without a list")
        self.stack[-1].extend(items)

    # The operations of torch's pickles; all else is unknown.
    dispatch: ClassVar[dict[int, Any]] = {
        **{
            ord(operation): pickle._Unpickler.dispatch[ord(operation)]
            for operation in (
                *(pickle.PROTO, pickle.STOP, pickle.MARK, pickle.NONE, pickle.NEWTRUE, pickle.NEWFALSE),
                *(pickle.BININT, pickle.BININT1, pickle.BININT2, pickle.LONG1, pickle.BINFLOAT),
                *(pickle.BINUNICODE, pickle.SHORT_BINSTRING, pickle.BINSTRING),
                *(pickle.EMPTY_LIST, pickle.EMPTY_TUPLE, pickle.EMPTY_DICT),
                *(pickle.TUPLE, pickle.TUPLE1, pickle.TUPLE2, pickle.TUPLE3, pickle.GLOBAL),
                *(pickle.BINPERSID, pickle.BINPUT, pickle.LONG_BINPUT, pickle.BINGET, pickle.LONG_BINGET),
            )
        },
        ord(pickle.REDUCE): _call,
        ord(pickle.NEWOBJ): _call,
        ord(pickle.BUILD): _build,
        ord(pickle.SETITEM): _set_item,
        ord(pickle.SETITEMS): _set_items,
        ord(pickle.APPEND): _append_item,
        ord(pickle.APPENDS): _append_items,
    }


def check_keys(keys: Any) -> None:
    """Refuse keys other than text and small numbers: the hash of nested tuples can take for ever."""
    for key in keys:
        if not (type(key) is str or (type(key) is int and abs(key) < LARGEST_KEY)):
            raise CheckpointError("it has a key that is neither text nor a number of usual size")


def _size(value: Any) -> int:
    if type(value) is not int or not 0 <= value < LARGEST_SIZE:
        raise CheckpointError("it has a tensor of an impossible size")
    return value


def _ordered_dict(pairs: Any = ()) -> OrderedDict:
    if not isinstance(pairs, list | tuple):
        raise CheckpointError("it has a dict that is not made of pairs")
    check_keys([key for key, _ in pairs])
    return OrderedDict(pairs)


def _tensor(storage: Any, offset: Any, shape: Any, strides: Any, *_: Any) -> StoredTensor:
    if not isinstance(storage, Storage) or not isinstance(shape, tuple) or not isinstance(strides, tuple):
        raise CheckpointError("it has a tensor that torch.save does not make")
    if len(shape) != len(strides) or len(shape) > 8:
        raise CheckpointError("it has a tensor of an impossible shape")
    return StoredTensor(storage, _size(offset), tuple(map(_size, shape)), tuple(map(_size, strides)))


def _untyped(*args: Any) -> Any:
    """A tensor of a type that has no storage of its own, float8 for one: an inert object of that name."""
    if len(args) < 7 or not isinstance(args[6], type):
        raise CheckpointError("it has a tensor that torch.save does not make")
    return args[6]()


def _parameter(data: Any, *_: Any) -> Any:
    return data
