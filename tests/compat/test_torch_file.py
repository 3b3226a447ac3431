"""The reader of foreign files: equal to torch on what torch writes, never more than a refusal on others."""

import argparse
import io
import os
import pickle
import random
import resource
import struct
import time
import zipfile
from collections import OrderedDict

import pytest
import torch

from marscf.compat.tensors import Tensors
from marscf.compat.torch_file import TorchFile
from marscf.compat.torch_pickle import StoredTensor
from marscf.errors import CheckpointError

SECONDS, GIGABYTES = 10, 2  # whatever a file holds


@pytest.fixture(params=[True, False], ids=["zip", "older container"])
def save(request, tmp_path):
    """Save an object in one of the two containers; returns the path."""

    def write(content):
        path = tmp_path / "file.pt"
        torch.save(content, path, _use_new_zipfile_serialization=request.param)
        return path

    return write


def test_tensors_are_those_that_torch_reads(save):
    base = torch.arange(24.0).view(4, 6)
    state = OrderedDict(
        weight=torch.randn(3, 4),
        view=base[1:3, 2:5],
        transposed=base.T,
        scalar=torch.tensor(2.5, dtype=torch.float64),
        empty=torch.zeros(0, 3),
        half=torch.randn(5).half(),
        brain=torch.randn(5).bfloat16(),
        counts=torch.tensor([1, -2]),
        flag=torch.tensor(True),
        parameter=torch.nn.Parameter(torch.randn(2)),
    )
    with TorchFile(save(state)) as file:
        assert list(file.content) == list(state)
        for name, tensor in state.items():
            read = file.tensor(file.content[name], name)
            assert read.dtype == tensor.dtype and torch.equal(read, tensor), name


def test_whole_modules_become_inert(save):
    saved = {"ema": torch.nn.Sequential(torch.nn.Linear(2, 2)), "args": argparse.Namespace(depth=3), "n": 1.5}
    with TorchFile(save(saved)) as file:
        assert file.content["n"] == 1.5 and file.content["args"].depth == 3
        assert type(file.content["ema"]).__module__ == StoredTensor.__module__
        inner = file.content["ema"]._modules["0"]
        assert inner._parameters["weight"].shape == (2, 2)


@pytest.mark.parametrize("stated", [True, False])
def test_a_record_that_its_checksum_contradicts_is_named(stated, tmp_path):
    """Torch can be told to state none; such a file is read as it is."""
    path, before = tmp_path / "file.pt", torch.serialization.get_crc32_options()
    torch.serialization.set_crc32_options(stated)
    try:
        torch.save({"weight": torch.ones(1000)}, path)
    finally:
        torch.serialization.set_crc32_options(before)
    ones = struct.pack("<f", 1) * 1000
    path.write_bytes(path.read_bytes().replace(ones, struct.pack("<f", 2) + ones[4:]))
    with TorchFile(path) as file:
        if stated:
            with pytest.raises(CheckpointError, match=r"'w'.*checksum"):
                file.tensor(file.content["weight"], "w")
        else:
            assert file.tensor(file.content["weight"], "w")[0] == 2


class Runs:
    """Runs a command where it is unpickled."""

    def __init__(self, mark):
        self.mark = mark

    def __reduce__(self):
        return os.system, (f"touch {self.mark}",)


class Evaluates(Runs):
    """Evaluates text where it is unpickled."""

    def __reduce__(self):
        return eval, (f"open({str(self.mark)!r}, 'w')",)


@pytest.mark.parametrize("kind", [Runs, Evaluates])
def test_nothing_that_a_file_names_is_run(save, tmp_path, kind):
    mark = tmp_path / "ran"
    with pytest.raises(CheckpointError, match="names"):
        TorchFile(save({"weight": torch.zeros(2), "more": kind(mark)}))
    assert not mark.exists()


def zipped(pickled, records=(), compression=zipfile.ZIP_STORED):
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", compression) as archive:
        archive.writestr("a/data.pkl", pickled)
        for name, content in records:
            archive.writestr(name, content)
    return buffer.getvalue()


def nested(levels):
    """A tuple whose hash takes 2**levels steps, as a key."""
    body = b"\x80\x02}K\x00" + b"q\x00h\x00\x86"
    return body + b"q\x01h\x01\x86" * levels + b"K\x01s."


def tensor_of(numel, shape):
    storage = b"ctorch\nFloatStorage\n"
    size = pickle.dumps(numel, 2)[2:-1]
    sides = b"(" + b"".join(pickle.dumps(side, 2)[2:-1] for side in shape) + b"t"
    strides = b"(" + b"K\x01" * len(shape) + b"t"
    pid = b"(X\x07\x00\x00\x00storage" + storage + b"X\x01\x00\x00\x000X\x03\x00\x00\x00cpu" + size + b"tQ"
    return (
        b"\x80\x02}X\x01\x00\x00\x00wctorch._utils\n_rebuild_tensor_v2\n("
        + pid
        + b"K\x00"
        + sides
        + strides
        + b"\x89}tRs."
    )


HOSTILE = {
    "nothing": b"",
    "text": b"weights",
    "a zip of nothing": zipped(b""),
    "a zip bomb": zipped(b"\x80\x02}.", [("a/data/0", bytes(1 << 26))], zipfile.ZIP_DEFLATED),
    "a bytearray of a terabyte": zipped(b"\x80\x05\x96" + (1 << 40).to_bytes(8, "little") + b"."),
    "a memo of four billions": zipped(b"\x80\x02}r\xff\xff\xff\xff."),
    "a hash for ever": zipped(nested(60)),
    "a number of a million digits": zipped(b"\x80\x02I" + b"9" * 1_000_000 + b"\n."),
    "a storage of a terabyte": zipped(tensor_of(1 << 39, (1 << 39,)), [("a/data/0", b"1234")]),
    "a shape beyond its numbers": zipped(tensor_of(1, (1 << 39,)), [("a/data/0", b"1234")]),
    "a negative shape": zipped(tensor_of(1, (-5,)), [("a/data/0", b"1234")]),
    "lists without end": zipped(b"\x80\x02" + b"]" * (1 << 23)),
    "a pickle of 64 MiB": zipped(b"\x80\x02" + b"N0" * (1 << 25) + b"."),
}


@pytest.mark.parametrize("content", HOSTILE.values(), ids=HOSTILE)
def test_a_hostile_file_is_refused_in_one_line_soon(content, tmp_path):
    path = tmp_path / "file.pt"
    path.write_bytes(content)
    started, before = time.process_time(), resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    with pytest.raises(CheckpointError) as refusal, TorchFile(path) as file:
        Tensors.of(file, file.content, "it").take("w", (1,))
    assert "\n" not in str(refusal.value) and len(str(refusal.value)) < 600
    assert time.process_time() - started < SECONDS
    assert (resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before) << 10 < GIGABYTES << 30


def test_altered_files_are_read_or_refused(save):
    """Whatever happens to a file's bytes, there is a content or one line."""
    path = save({"state_dict": {"a": torch.randn(3, 2), "b": torch.arange(3)}, "ema": torch.nn.Linear(2, 2)})
    whole, dice = path.read_bytes(), random.Random(0)
    refused = 0
    for _ in range(300):
        content = bytearray(whole)
        for _ in range(dice.choice((1, 1, 3, 20))):
            place = dice.randrange(len(content))
            match dice.randrange(3):
                case 0:
                    content[place] ^= 1 << dice.randrange(8)
                case 1:
                    del content[place : place + dice.randrange(1, 30)]
                case 2:
                    content[place:place] = dice.randbytes(dice.randrange(1, 8))
        path.write_bytes(content)
        try:
            with TorchFile(path) as file:
                for name, tensor in (file.content.get("state_dict") or {}).items():
                    if isinstance(tensor, StoredTensor):
                        file.tensor(tensor, str(name))
        except CheckpointError as error:
            refused += 1
            assert "\n" not in str(error)
        except AttributeError:
            assert not isinstance(file.content, dict)
    assert refused > 100
