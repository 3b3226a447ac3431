"""Altered and hostile files of weights: each ends in one line, or its numbers are the file's."""

import json
import os
import random
import resource
import subprocess
import sys
import time
from argparse import Namespace
from pathlib import Path

import hostile
import hostile_pickles
import pytest
import torch
from made_up_residual import ExponentialMovingAverage, their_names
from safetensors.torch import load_file

from marscf.cli import main

SECONDS, BYTES = 10, 2 << 30  # of the processor, and of memory, whatever a file holds
MUTANTS = int(os.environ.get("MARSCF_HOSTILE_FILES") or 120)
CODES = list(hostile.NAMES)


class Attempts:
    """Imports files through the command, and collects what ends otherwise than it should."""

    def __init__(self, folder, capsys):
        self.folder, self.capsys = folder, capsys
        self.mark, self.out = folder / "ran", folder / "run"
        self.count, self.imported, self.faults = 0, 0, []

    def of(self, label, code, content, *more, named=None):
        """Import a file of these bytes under the name that its code gives."""
        path = self.folder / hostile.NAMES[code]
        path.write_bytes(content)
        return self.path(label, code, path, *more, named=named or path.name)

    def path(self, label, code, path, *more, named):
        """Import a file; return whether it became a run, and note what is wrong with how it ended."""
        started, before = time.process_time(), resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
        self.count += 1
        try:
            status = main(["import", str(path), "--code", code, "--out", str(self.out), *more])
        except (Exception, SystemExit) as error:
            status = repr(error)
        took = time.process_time() - started
        grew = (resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before) << 10
        line = self.capsys.readouterr().err
        wrong = []
        if status == 0:
            self.imported += 1
        elif status != 2 or line.count("\n") != 1 or not line[:-1].isprintable() or named not in line:
            wrong.append(f"status {status}: {line[:500]!r}")
        elif not line.startswith("marscf import: ") or len(line) > 1500 or self.out.exists():
            wrong.append(f"{len(line)} letters, written: {self.out.exists()}: {line[:300]!r}")
        if took > SECONDS or grew > BYTES or self.mark.exists():
            wrong.append(f"{took:.1f} s, {grew >> 20} MiB, ran: {self.mark.exists()}: {line[:100]!r}")
        self.faults += [f"{code}, {label}: {words}" for words in wrong]
        return status == 0

    def weights(self):
        """What was imported last; the run is taken away."""
        found = load_file(self.out / "weights.safetensors")
        for path in self.out.iterdir():
            path.unlink()
        self.out.rmdir()
        return found

    def finish(self, least):
        assert not self.faults, "\n".join([f"{len(self.faults)} of {self.count}", *self.faults[:40]])
        assert self.count >= least


pytestmark = [
    pytest.mark.timeout(600),  # a file may not wait for anything
    pytest.mark.filterwarnings("ignore:Duplicate name", "ignore:torch.quantize"),
]


@pytest.fixture
def attempts(tmp_path, capsys):
    return Attempts(tmp_path, capsys)


def read_by_torch(path):
    """The content as torch's own restricted reader sees it, None where it refuses the file."""
    try:
        with their_names(), torch.serialization.safe_globals([Namespace, ExponentialMovingAverage]):
            return torch.load(path, map_location="cpu", weights_only=True)
    except Exception:  # of any kind
        return None


def same(one, other):
    return one.keys() == other.keys() and all(torch.equal(one[name], other[name]) for name in one)


def mutants(attempts, count):
    """Files with altered bytes: refused, or their numbers are what torch reads in them."""
    dice = random.Random(20)
    for number in range(count):
        code, older = CODES[number % 3], bool(number // 3 % 2)
        whole = hostile.saved(hostile.content_of(code), older)
        if not attempts.of(f"mutant {number}", code, hostile.mutated(whole, dice)):
            continue
        found, read = attempts.weights(), read_by_torch(attempts.folder / hostile.NAMES[code])
        sound = hostile.content_of(code) if read is None else read  # torch minds more than we do
        assert attempts.of(f"mutant {number} by torch", code, hostile.saved(sound, older))
        if not same(attempts.weights(), found):
            attempts.faults.append(f"{code}, mutant {number}: other numbers than in the file")
    assert attempts.imported > count / 20


def test_mutants(attempts):
    mutants(attempts, MUTANTS)
    attempts.finish(MUTANTS)


@pytest.mark.long
def test_many_mutants(attempts):
    mutants(attempts, 20 * MUTANTS)
    attempts.finish(20 * MUTANTS)


def test_altered_states(attempts):
    dice = random.Random(0)
    for index, code in enumerate(CODES):
        for number, (label, content) in enumerate(hostile.altered_states(code, dice)):
            older = bool((number + index) % 2) and "float8" not in label and "meta" not in label
            if attempts.of(label, code, hostile.saved(content, older)):
                attempts.faults.append(f"{code}, {label}: imported")
                attempts.weights()
    attempts.finish(90)


def test_half_precision_is_read(attempts):
    for code in CODES:
        for kind in (torch.float16, torch.bfloat16, torch.float64):
            content = hostile.content_of(code)
            state = hostile.state_of(content)
            state.update({name: value.to(kind) for name, value in state.items()})
            assert attempts.of(str(kind), code, hostile.saved(content, False))
            found = attempts.weights()
            state.update({name: value.float() for name, value in state.items()})
            assert attempts.of(f"{kind} as float32", code, hostile.saved(content, False))
            assert same(attempts.weights(), found)
    attempts.finish(18)


def test_pickles(attempts):
    values = {**hostile_pickles.commands(attempts.mark), **hostile_pickles.SMALL_ODD}
    for number, (label, content) in enumerate(hostile.in_both(values)):
        attempts.of(label, CODES[number % 3], content)
    attempts.finish(120)
    assert attempts.imported == 0


def test_odd_zips(attempts):
    for code in CODES:
        whole = hostile.saved(hostile.content_of(code), False)
        for label, content in hostile.odd_zips(whole):
            attempts.of(label, code, content)
    for (label, content), code in zip(hostile.large_zips(), CODES, strict=True):
        attempts.of(label, code, content)
    attempts.finish(60)
    assert attempts.imported == 0


def test_arguments_of_residual_flow(attempts):
    for number, changed in enumerate(hostile.ARGS):
        content = hostile.content_of("residual-flows")
        vars(content["args"]).update(changed)
        attempts.of(str(changed)[:60], "residual-flows", hostile.saved(content, bool(number % 2)))
    attempts.finish(40)
    assert attempts.imported == 0


def test_hyper_parameters_of_glow(attempts):
    path = attempts.folder / "hyper.json"
    for number, content in enumerate(hostile.HPARAMS):
        path.write_bytes(content)
        whole = hostile.saved(hostile.content_of("glow-pytorch"), bool(number % 2))
        try:
            named = hostile.NAMES["glow-pytorch"] if isinstance(json.loads(content), dict) else path.name
        except (ValueError, RecursionError):
            named = path.name
        attempts.of(str(content[:60]), "glow-pytorch", whole, "--hparams", str(path), named=named)
    attempts.finish(25)
    assert attempts.imported == 0


def test_things_in_a_files_place(attempts):
    folder = attempts.folder
    whole = hostile.saved(hostile.content_of("glow-pytorch"), False)
    (folder / "folder").mkdir()
    (folder / "loop").symlink_to("loop")
    (folder / "gone").symlink_to("nowhere")
    (folder / "empty").touch()
    os.mkfifo(folder / "pipe")
    with open(folder / "sparse", "wb") as stream:
        stream.write(whole)
        stream.truncate(1 << 40)
    with open(folder / "sparse zip", "wb") as stream:
        stream.write(whole[:-22])
        stream.truncate(3 << 30)
        stream.seek(0, os.SEEK_END)
        stream.write(whole[-22:])
    (folder / "locked").write_bytes(whole)
    (folder / "locked").chmod(0)
    names = [
        "folder",
        "loop",
        "gone",
        "empty",
        "pipe",
        "sparse",
        "sparse zip",
        "missing",
        "n" * 300,
        "zero\0byte",
    ]
    names += ["empty/below"] + (["locked"] if os.geteuid() else [])
    shown = {"zero\0byte": "zero\\x00byte"}
    for name in [*names, "/dev/zero"]:
        for code in CODES:
            attempts.path(name[:20], code, folder / name, named=shown.get(name, name))
    for name in names[:-1]:
        (folder / "sound.pt").write_bytes(whole)
        more = ("--hparams", str(folder / name))
        attempts.path(
            f"--hparams {name[:20]}", "glow-pytorch", folder / "sound.pt", *more, named=shown.get(name, name)
        )
    for name in (
        "line\nbreak.pt",
        "\x1b[2Jclear.pt",
        "tab\t.pt",
        "\u202eleft.pt",
        os.fsdecode(b"\xff\xfe.pt"),
    ):
        (folder / name).write_bytes(b"none")
        for code in CODES:
            attempts.path(ascii(name), code, folder / name, named=".pt")
    attempts.finish(60)
    assert attempts.imported == 0


def test_a_strange_name_is_no_hindrance(attempts):
    for name in ("line\nbreak.pt", os.fsdecode(b"\xff\xfe.pt")):
        path = attempts.folder / name
        path.write_bytes(hostile.saved(hostile.content_of("glow-pytorch"), False))
        assert attempts.path(ascii(name), "glow-pytorch", path, named=".pt")
        assert json.loads((attempts.out / "receipt.json").read_text())["imported_from"] == name
        attempts.weights()
    attempts.finish(2)


LIMITED = """
import json, resource, sys, time
import torch, marscf.compat.importing, marscf.models.multiscale_flow, marscf.models.residual_flow
from marscf.cli import main
used = int(open("/proc/self/statm").read().split()[0]) * resource.getpagesize()
resource.setrlimit(resource.RLIMIT_AS, (used + {bytes}, used + {bytes}))
for path, code in json.load(sys.stdin):
    started = time.process_time()
    status = main(["import", path, "--code", code, "--out", "run"])
    print(json.dumps([path, status, time.process_time() - started]), flush=True)
"""


@pytest.mark.parametrize("container", ["zip", pytest.param("older", marks=pytest.mark.long)])
def test_endless_pickles_in_a_process_with_little_memory(container, tmp_path):
    files, made = [], hostile.in_both(hostile_pickles.LARGE_ODD)
    for number, (label, content) in enumerate(item for item in made if item[0].endswith(container)):
        (tmp_path / f"{label}.pt").write_bytes(content)
        files.append((f"{label}.pt", CODES[number % 3]))
    program = [sys.executable, "-c", LIMITED.format(bytes=BYTES)]
    environment = {**os.environ, "PYTHONPATH": str(Path(__file__).parents[2])}
    done = subprocess.run(
        program,
        input=json.dumps(files),
        capture_output=True,
        text=True,
        cwd=tmp_path,
        env=environment,
        check=False,
    )
    results = [json.loads(line) for line in done.stdout.splitlines()]
    assert len(results) == len(files) == done.stderr.count("\n") and not (tmp_path / "run").exists(), (
        done.stderr
    )
    for (path, status, took), line in zip(results, done.stderr.splitlines(), strict=True):
        assert status == 2 and took < SECONDS and path in line and "bad_alloc" not in line, (path, took, line)
