"""Files of weights that are altered, or were made to do harm, for each of the three codes."""

import io
import math
import pickle
import struct
import zipfile

import hostile_pickles
import torch
from made_up import state_dict
from made_up_glow import glow_state
from made_up_residual import residual_content, their_names

from marscf.compat.torch_file import MAGIC, PROTOCOL

#: The name that each code's file has.
NAMES = {
    "mar-scf": "marscf_cifar10_affine_1_4.pt",
    "residual-flows": "resflow.pth",
    "glow-pytorch": "glow.pt",
}


def content_of(code):
    """What a sound and small file of a code holds."""
    match code:
        case "mar-scf":
            return state_dict("affine", 2, 1, 4, lstm=4, layers=1)
        case "residual-flows":
            return residual_content("mnist", "1-1", 2, 2, side=28)
    return glow_state(2, 1, 4)


def state_of(content):
    """The tensors in such a content that count, to be altered in place."""
    return content["ema"].shadow_params if "ema" in content else content


def saved(content, older):
    """The bytes of `torch.save`."""
    buffer = io.BytesIO()
    with their_names():
        torch.save(content, buffer, _use_new_zipfile_serialization=not older)
    return buffer.getvalue()


def mutated(whole, dice):
    """Bytes of which some are flipped, cut, put in, moved or repeated."""
    content = bytearray(whole)
    for _ in range(dice.choice((1, 1, 1, 3, 20))):
        place = dice.randrange(max(len(content), 1))
        length = dice.choice((1, 1, 4, 30, 3000))
        match dice.randrange(7):
            case 0 | 1 | 2:
                content[place : place + 1] = (
                    bytes([content[place] ^ (1 << dice.randrange(8))]) if content else b""
                )
            case 3:
                del content[place : place + length]
            case 4:
                content[place:place] = dice.randbytes(length)
            case 5:
                content[place : place + length] = bytes(length)
            case 6:
                content[place:place] = content[place : place + length]
    if dice.random() < 0.1:
        del content[dice.randrange(max(len(content), 1)) :]
    return bytes(content)


HARMS = {
    "a number": lambda t: torch.tensor(1.0),
    "without numbers": lambda t: torch.zeros(0, *t.shape[1:]),
    "without numbers, of 2**39 channels": lambda t: torch.zeros(0).as_strided(
        (2**39, 0, *t.shape[2:]), (0,) * max(t.ndim, 2)
    ),
    "one axis more": lambda t: t[None],
    "transposed to another shape": lambda t: (
        t.reshape(-1, *t.shape[:-1]) if t.ndim > 1 else torch.cat((t, t))
    ),
    "sparse": lambda t: t.to_sparse(),
    "complex": lambda t: t.to(torch.complex64),
    "whole numbers": lambda t: t.to(torch.int64) * 3 + 2,
    "true and false": lambda t: t > 0,
    "without data": lambda t: t.to("meta"),
    "quantised": lambda t: torch.quantize_per_tensor(t.float(), 0.1, 0, torch.qint8),
    "float8": lambda t: t.to(torch.float8_e4m3fn),
    "one number that claims to be many": lambda t: torch.zeros(1).expand(10**9, *t.shape[1:]),
    "nan": lambda t: t.float() * math.nan,
    "infinite": lambda t: t.float() + math.inf,
    "1e300": lambda t: torch.full_like(t, 1e300, dtype=torch.float64),
    "a list": lambda t: t.tolist(),
    "text": lambda t: "weights",
    "nothing": lambda t: None,
    "a module": lambda t: torch.nn.Linear(2, 2),
}


def altered_states(code, dice):
    """Sound files with one thing changed: name → content."""
    for harm, change in HARMS.items():
        content = content_of(code)
        state = state_of(content)
        name = dice.choice([name for name in state if not name.endswith("is_initialized")])
        state[name] = change(state[name])
        yield f"{harm}: {name}", content
    renamed = {
        "a tensor less": lambda s, name: s.pop(name),
        "a name of 5,000 digits": lambda s, name: s.update({f"flow.layers.{'9' * 5000}.x": s[name]}),
        "a place of 12 digits": lambda s, name: s.update({name.replace("1", "1" * 12): s.pop(name)}),
        "a tensor more": lambda s, name: s.update({f"{name}.more": s[name]}),
        "a tensor with a number for its name": lambda s, name: s.update({7: s[name]}),
        "a name with line breaks": lambda s, name: s.update({f"a\n\x1b[2J{name}": s[name]}),
        "a name that is no text": lambda s, name: s.update({"\ud800": s[name]}),
        "an empty name": lambda s, name: s.update({"": s[name]}),
        "20,000 tensors more": lambda s, name: s.update(
            {f"flow.layers.{k}.y": s[name] for k in range(20_000)}
        ),
    }
    for change, alter in renamed.items():
        content = content_of(code)
        state = state_of(content)
        alter(state, dice.choice([name for name in state if "1" in name]))
        yield change, content
    content = content_of(code)
    state = state_of(content)
    shared = torch.zeros(max(value.numel() for value in state.values()))
    for name, value in state.items():
        state[name] = shared[: value.numel()].view(value.shape)
        content.get("state_dict", state)[name] = state[name]
    yield "tensors that share their numbers", content


ARGS = [
    *(
        {"nblocks": value}
        for value in ("1e9-1", "", None, "9" * 5000, "1--1", "-1-1", "0-0", 16, "1-1" * 999)
    ),
    *({"nblocks": value} for value in ("9999-9999", "\u0661-\u0661", ["1", "1"], "1_0-1", " 1-1", "1-1\n")),
    *({"idim": value} for value in (2**40, -2, 0, 1e300, math.inf, "2", None, True, 3)),
    *({"fc_idim": value} for value in (2**31, -1, [2], {})),
    *({"coeff": value} for value in (math.nan, math.inf, 0.0, -1.0, 1.0, "0.98", None, 1)),
    *({"imagesize": value} for value in (2**60, 0, -28, 28.0, "28", None, True)),
    *({"data": value} for value in (None, 5, "x" * 100_000, ("mnist",), "mnist\n", "celebahq")),
    *({"fc_end": value} for value in (None, "False", [], 0, False)),
    {"kernels": ["3"]},
]
HPARAMS = [
    *(b"", b"{", b"[]", b"null", b"5", b'"x"', b"\xff\xfe\x00", b" " * (2 << 20)),
    *(b"{" * 100_000, b"[" * 900_000, b'{"K":' * 900 + b"1" + b"}" * 900),
    *(b'{"K": ' + b"9" * 5000 + b"}", b'{"K": ' + b"[" * 300 + b"]" * 300 + b"}"),
    *(b'{"K": NaN}', b'{"K": 1e999}', b'{"K": "1"}', b'{"K": [1]}', b'{"K": true}', b'{"L": null}'),
    *(b'{"L": -2}', b'{"hidden_channels": {}}', b'{"flow_coupling": ["affine"]}', b'{"dataset": "x\\ny"}'),
    *(b'{"flow_permutation": 3}', b'{"y_condition": "False"}', b'{"LU_decomposed": 1}', b'{"learn_top": []}'),
    b'{"K": "' + b"x" * 500_000 + b'"}',
]


def zipped(pickled, records=(), folder="a/", compression=zipfile.ZIP_STORED):
    """A zip container of this pickle."""
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", compression) as archive:
        archive.writestr(f"{folder}data.pkl", pickled)
        for name, content in records:
            archive.writestr(name, content)
    return buffer.getvalue()


def older(pickled, keys=b"].", numbers=b"", system=None):
    """The older container of this pickle."""
    system = system or {"protocol_version": PROTOCOL, "little_endian": True, "type_sizes": {}}
    heads = [pickle.dumps(part, 2) for part in (MAGIC, PROTOCOL, system)]
    return b"".join(heads) + pickled + hostile_pickles.HEAD + keys + numbers


def in_both(values):
    """Values of a state dict, as whole files in both containers: name → bytes."""
    for name, value in values.items():
        pickled = hostile_pickles.HEAD + b"}" + hostile_pickles.text("w") + value + b"s."
        yield f"{name}, zip", zipped(pickled, [("a/data/0", bytes(4))])
        yield (
            f"{name}, older",
            older(pickled, b"]" + hostile_pickles.text("0") + b"a.", struct.pack("<q", 1) + bytes(4)),
        )


def odd_zips(whole):
    """Zip containers that are altered: name → bytes."""
    with zipfile.ZipFile(io.BytesIO(whole)) as archive:
        records = {info.filename: archive.read(info) for info in archive.infolist()}
    folder = next(iter(records)).split("/")[0] + "/"

    def write(alter=lambda infos: infos, compression=zipfile.ZIP_STORED):
        buffer = io.BytesIO()
        with zipfile.ZipFile(buffer, "w", compression) as archive:
            for name, content in alter(list(records.items())):
                archive.writestr(name, content)
        return buffer.getvalue()

    def in_directory(offset, value):
        """A number in the list of records, of all records."""
        content, place = bytearray(write()), -1
        while (place := content.find(b"PK\x01\x02", place + 1)) >= 0:
            content[place + offset : place + offset + len(value)] = value
        return bytes(content)

    yield "compressed", write(compression=zipfile.ZIP_DEFLATED)
    yield "by bzip2", write(compression=zipfile.ZIP_BZIP2)
    yield "a record twice", write(lambda records: [*records, records[-1]])
    yield "two pickles", write(lambda records: [*records, ("b/data.pkl", b"\x80\x02}.")])
    yield "no pickle", write(lambda records: records[1:])
    yield "absolute names", write(lambda records: [("/" + name, content) for name, content in records])
    yield "names that climb", write(lambda records: [("../" + name, content) for name, content in records])
    yield (
        "big-endian",
        write(
            lambda records: [*[r for r in records if "byteorder" not in r[0]], (f"{folder}byteorder", b"big")]
        ),
    )
    yield "encrypted", in_directory(8, b"\x01\x00")
    yield "records elsewhere", in_directory(42, b"\xff\xff\xff\x7f")
    yield "records at one place", in_directory(42, bytes(4))
    yield "records of 4 GB", in_directory(20, b"\xfe\xff\xff\xff\xfe\xff\xff\xff")
    yield "sizes in a zip64 part that is not there", in_directory(20, b"\xff" * 8)
    yield "the wrong checksum", in_directory(16, b"\x01\x02\x03\x04")
    yield (
        "storages that are short",
        write(lambda records: [(n, c[:-4] if "/data/" in n else c) for n, c in records]),
    )
    yield "a flipped number", whole.replace(c := max(records.values(), key=len), bytes([c[0] ^ 1]) + c[1:])
    yield "half", whole[: len(whole) // 2]
    yield "without its end", whole[:-10]
    yield "only its end", b"PK\x05\x06" + bytes(18)
    place = whole.index(b"PK\x06\x06") + 40
    yield "a directory of 4 GB", whole[:place] + (1 << 32).to_bytes(8, "little") + whole[place + 8 :]


def large_zips():
    """Zip containers that unfold, or ask for much memory: name → bytes."""
    yield "a bomb", zipped(b"\x80\x02}.", [("a/data/0", bytes(1 << 28))], compression=zipfile.ZIP_DEFLATED)
    yield "a pickle of 64 MiB", zipped(b"\x80\x02" + b"N" * (1 << 26) + b".")
    yield "100,000 records", zipped(b"\x80\x02}.", ((f"a/x{k}", b"") for k in range(100_000)))
