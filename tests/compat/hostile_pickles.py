"""Pickles that run commands, copy without end or are no pickles, put together from their operations."""

import pickle
import struct

HEAD = b"\x80\x02"


def text(value):
    encoded = value.encode()
    return b"X" + struct.pack("<I", len(encoded)) + encoded


def number(value):
    return pickle.dumps(value, 2)[2:-1]


def name(module, called):
    return f"c{module}\n{called}\n".encode()


def call(module, called, *args):
    return name(module, called) + b"(" + b"".join(args) + b"tR"


def keep(index):
    return b"r" + struct.pack("<I", index)


def get(index):
    return b"j" + struct.pack("<I", index)


def storage(kind="FloatStorage", key=None, numel=None, more=b""):
    key, numel = key or text("0"), number(1) if numel is None else numel
    return b"(" + text("storage") + name("torch", kind) + key + text("cpu") + numel + more + b"tQ"


def tensor(place=None, offset=None, shape=b")", strides=b")"):
    parts = (place or storage(), offset or number(0), shape, strides, b"\x89", b")R")
    return call("torch._utils", "_rebuild_tensor_v2", *parts)


def unfolding(levels=60):
    """A tuple of itself twice, and so on: small in memory, without end for hash, repr and str."""
    return number(0) + keep(9) + (get(9) + b"\x86" + keep(9)) * levels


def commands(mark):
    """Values that run a command, or call a function of torch, numpy or their code."""
    touch, write = text(f"touch {mark}"), text(f"open({str(mark)!r}, 'w')")
    old = b"cos\nsystem\n(" + touch + b"t"
    return {
        "os.system": call("os", "system", touch),
        "posix.system": call("posix", "system", touch),
        "subprocess": call("subprocess", "Popen", text("touch"), text(str(mark))),
        "eval": call("builtins", "eval", write),
        "exec of Python 2": call("__builtin__", "exec", write),
        "import": call("builtins", "__import__", text("antigravity")),
        "open": call("builtins", "open", text(str(mark)), text("w")),
        "getattr": call("builtins", "getattr", name("builtins", "dict"), text("fromkeys")),
        "a file of torch's": call("torch", "load", text(str(mark))),
        "torch.hub": call("torch.hub", "load", text("owner/code"), text("model")),
        "torch imports": call("torch._utils", "_import_dotted_name", text("os.system")),
        "torch compiles": call("torch.utils.cpp_extension", "load_inline", text("x"), text("int x;")),
        "torch's classes": call("torch.jit._script", "unpackage_script_module", text("x")),
        "numpy reconstructs": call(
            "numpy.core.multiarray", "_reconstruct", name("numpy", "ndarray"), number(0) + b"\x85", text("b")
        ),
        "numpy's file": call("numpy", "load", text(str(mark))),
        "numpy's runner": call("numpy.testing._private.utils", "runstring", write, b"}"),
        "their code's command": call("lib.os", "system", touch),
        "collections": call("collections", "namedtuple", text("x"), text(f"a=open({str(mark)!r})")),
        "a reduce in a reduce": call("builtins", "map", call("os", "system", touch), b"]"),
        "the result is called": call("torch", "Tensor") + b"(" + touch + b"tR",
        "a global on the stack": text("os") + text("system") + b"\x93(" + touch + b"tR",
        "an instance": b"(" + touch + b"ios\nsystem\n",
        "an object": b"(cos\nsystem\n" + touch + b"o",
        "an object with keywords": b"cos\nsystem\n(" + touch + b"t}\x92",
        "an object by its class": old + b"\x81",
        "attributes that are calls": call("lib", "X")
        + b"}"
        + text("__setstate__")
        + name("os", "system")
        + b"sb",
        "a code of an extension": b"\x82\x01",
        "a buffer outside": b"\x97",
    }


SMALL_ODD = {
    "a list in itself": b"]" + keep(1) + get(1) + b"a",
    "a dict in itself": b"}" + keep(1) + text("k") + get(1) + b"s",
    "a memo that is not there": b"j\xff\xff\xff\xff",
    "a number of 5,000 digits": b"I" + b"9" * 5000 + b"\n",
    "a long number of 5,000 digits": b"L" + b"9" * 5000 + b"L\n",
    "600 digits as a size": tensor(shape=number(10**600) + b"\x85", strides=number(1) + b"\x85"),
    "600 digits as an offset": tensor(offset=number(10**600)),
    "a negative size": tensor(shape=number(-5) + b"\x85", strides=number(1) + b"\x85"),
    "a negative stride": tensor(shape=number(1) + b"\x85", strides=number(-1) + b"\x85"),
    "a negative storage": tensor(storage(numel=number(-1))),
    "text as a shape": tensor(shape=text("11"), strides=text("11")),
    "a shape without strides": tensor(shape=number(1) + b"\x85"),
    "ten thousand axes": tensor(
        shape=b"(" + number(1) * 10000 + b"t", strides=b"(" + number(1) * 10000 + b"t"
    ),
    "a storage that is text": tensor(text("0")),
    "a storage of a kind that is not known": tensor(storage("Float7Storage")),
    "a storage of no class": b"(" + text("storage") * 5 + b"tQ",
    "a view of a storage": tensor(storage(more=b"(" + number(1) * 3 + b"t")),
    "attributes for a tensor": tensor() + b"}" + text("shape") + number(-1) + b"\x85sb",
    "attributes for a number": number(1) + b"}" + text("shape") + number(1) + b"sb",
    "a reference of no kind": number(5) + b"Q",
    "items for a number": number(1) + number(2) + b"a",
    "a dict that is called": b"}" + b")R",
    "a class's class": name("lib", "X") + b")\x81)\x81",
    "an odd number of items": b"}(" + text("x") + b"u",
    "an OrderedDict of a number": call("collections", "OrderedDict", number(3)),
    "an OrderedDict of triples": call("collections", "OrderedDict", b"]" + number(1) * 3 + b"\x87a"),
    "a frame": b"\x95" + struct.pack("<Q", 1 << 60),
    "protocol 200": b"\x80\xc8",
    "no text": b"X\x02\x00\x00\x00\xff\xfe",
    "half of a surrogate": b"X\x03\x00\x00\x00\xed\xa0\x80",
    "a class without a name": b"c\n\n",
    "a class named by a zero byte": b"ctorch\n\x00\n)R",
    "a class with a long name": b"ctorch\n" + b"x" * 100_000 + b"\n",
    "the end, too soon": b".",
}

#: Small to write, endless to read. The values that are copied have 300,000 parts.
MANY = 300_000
LARGE_ODD = {
    "text of 4 GB": b"X\xff\xff\xff\xff",
    "bytes of 2**60": b"\x8e" + struct.pack("<Q", 1 << 60),
    "a long number of 2 GB": b"\x8b" + struct.pack("<i", 1 << 30),
    "a million lists in lists": b"]" * 1_000_000 + b"a" * 999_999,
    "a million tuples in tuples": b")" + b"\x85" * 1_000_000,
    "objects in objects": call("lib", "X") + (b"\x85" + keep(1) + name("lib", "Y") + get(1) + b"R") * 100_000,
    "marks without end": b"(" * 3_000_000,
    "a key that unfolds": b"}" + unfolding() + number(1) + b"s",
    "a storage whose key unfolds": tensor(storage(key=unfolding())),
    "a shape that unfolds": tensor(shape=unfolding(), strides=unfolding()),
    "keys that collide": b"}(" + b"".join(number(k * (2**61 - 1)) + b"N" for k in range(1, 200_000)) + b"u",
    "arguments that are copied": (
        b"(" + b"N" * MANY + b"t" + keep(1) + (name("lib", "X") + get(1) + b"R") * 100_000
    ),
    "pairs that are copied": (
        b"](" + (text("k") + b"N\x86") * MANY + b"e\x85" + keep(1)
        + (name("collections", "OrderedDict") + get(1) + b"R") * 50_000
    ),
    "attributes that are copied": (
        b"}(" + b"".join(text(str(k)) + b"N" for k in range(MANY)) + b"u" + keep(1)
        + name("lib", "X") + b")R" + (get(1) + b"b") * 300_000
    ),
    "references that are copied": (
        b"(" + text("storage") + b"N" * MANY + b"t" + keep(1) + (get(1) + b"Q") * 500_000
    ),
    "classes without end": b"".join(name("torch", f"C{k}") for k in range(250_000)),
    "empty dicts": b"}" * 4_000_000,
    "ordered dicts": name("collections", "OrderedDict") + keep(1) + (get(1) + b")R") * 550_000,
}  # fmt: skip
