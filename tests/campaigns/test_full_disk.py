"""Every stage on a full disk: one line that says so, nothing lost, and a later call goes on."""

import resource
import shutil
import subprocess
from pathlib import Path

import pytest
from counts import count, found
from hostile import NAMES, content_of, saved
from measured_place import COLLECT, INDEX, INTERPOLATED, RUNS, SWEEP, call, draw, ended, forked

RUN = RUNS[3]
CHECKPOINT = NAMES["mar-scf"]
CACHE = "data/fidelity-cache"

# a stage: what it is to make anew, and its call
STAGES = {
    "dataset": ([], lambda: call("data", "digits", "--root", "other/datasets")),
    "extractor": (["data/extractors"], lambda: call("evaluate", "extractor", "digits")),
    "train": ([RUNS[1]], lambda: call("train", RUNS[1])),
    "train in closed form": ([RUNS[0]], lambda: call("train", RUNS[0])),
    "likelihood": ([CACHE], lambda: call("evaluate", "likelihood", RUN)),
    "fidelity": ([CACHE], lambda: call("evaluate", "fidelity", RUN)),
    "floor": ([CACHE], lambda: call("evaluate", "floor", "data/runs/quick/digits")),
    "sample": ([], lambda: call("sample", RUN, "-n", "9", "--out", f"{RUN}/samples.npy")),
    "sample a picture": ([], lambda: call("sample", RUN, "-n", "9", "--out", "x.png")),
    "latents": ([], lambda: call("study", "latents", RUN)),
    "interpolation": ([], lambda: call("study", "interpolate", INTERPOLATED)),
    "sampling speed": (["reports/quick/sampling_speed.json"], lambda: call(*SWEEP)),
    "figure": ([], lambda: draw("latent_correlation")),
    "table": ([], lambda: draw("table_equal_time")),
    "collect": ([], lambda: call(*COLLECT)),
    "index": ([], lambda: call(*INDEX)),
    "accept": ([], lambda: call("check", "--scale", "quick", "--accept", "again")),
    "import": ([], lambda: call("import", CHECKPOINT, "--code", "mar-scf", "--out", "imported")),
    "shrink": ([], lambda: call("shrink", RUN)),
}
WORDS = ("disk full", "No space left", "File too large")
FREE = count(3, 8)  # sizes tried


@pytest.fixture
def checkpoint():
    """The bytes of a published checkpoint."""
    return saved(content_of("mar-scf"), older=False)


def contents():
    """All files but the locks."""
    files = (path for path in Path().rglob("*") if path.is_file() and not path.name.endswith(".lock"))
    return {path: path.read_bytes() for path in files}


def on_full_disk(stage, before, tmp_path):
    """Call a stage where the disk is full; return its exit code and words. What was there is as it was."""
    there = contents()
    code = ended(forked(STAGES[stage][1], tmp_path / "said", before))
    words = (tmp_path / "said").read_text()
    assert code in (0, 2), f"{stage}: exit code {code}: {words}"
    if code == 2:
        lines = words.strip().splitlines()
        assert any(known in lines[-1] for known in WORDS), f"{stage}: {words}"
        assert "Traceback" not in words and sum(line.startswith("marscf") for line in lines) == 1
        now = contents()
        assert [path for path, content in there.items() if now.get(path) != content] == []
        assert [path for path in now.keys() - there.keys() if path.name.startswith(".")] == []
    return code


def made_anew(stage):
    """Remove what a stage made, and what an earlier call on a full disk had begun."""
    for path in map(Path, STAGES[stage][0]):
        if path.is_dir():
            shutil.rmtree(path)
        else:
            path.unlink(missing_ok=True)


@pytest.mark.parametrize("stage", STAGES)
def test_files_that_may_not_grow(measured, checkpoint, tmp_path, stage):
    """A limit on the size of files fails where a full disk does, and needs no disk of its own."""
    Path(CHECKPOINT).write_bytes(checkpoint)
    codes = []
    for number in range(FREE):
        made_anew(stage)
        limit = 0 if number == 0 else int(30 * 8**number / 4)

        def limited(limit=limit):
            resource.setrlimit(resource.RLIMIT_FSIZE, (limit, resource.RLIM_INFINITY))

        codes.append(on_full_disk(stage, limited, tmp_path))
        if codes[-1] == 0:
            break
    assert codes[0] == 2, "there is room for nothing"
    if codes[-1] != 0:
        done = STAGES[stage][1]()
        assert done.code == 0, done.err
    found(f"{stage}: files limited to {len(codes)} sizes, {codes.count(2)} times full, then it went on")


@pytest.fixture
def small_disk(whole, tmp_path, monkeypatch):
    """A disk in memory with a copy of the finished runs, and a way to leave only so many bytes of it free."""
    disk = tmp_path / "disk"
    disk.mkdir()
    size = sum(path.stat().st_size + 4096 for path in whole.rglob("*")) + (8 << 20)
    mounted = subprocess.run(
        ["mount", "-t", "tmpfs", "-o", f"size={size}", "tmpfs", disk], capture_output=True, text=True
    )
    if mounted.returncode:
        pytest.skip(f"no disk of its own without the right to mount: {mounted.stderr.strip()}")
    try:
        shutil.copytree(whole, disk, dirs_exist_ok=True)
        with monkeypatch.context() as here:
            here.chdir(disk)
            yield Disk(disk / "ballast")
    finally:
        subprocess.run(["umount", "-l", disk], check=True)


class Disk:
    def __init__(self, ballast):
        self.ballast = ballast

    def leave(self, free):
        """Leave so many bytes free: a number of pages."""
        self.ballast.unlink(missing_ok=True)
        taken = max(shutil.disk_usage(self.ballast.parent).free - free, 0)
        with self.ballast.open("wb") as stream:
            for _ in range(taken // 4096):
                stream.write(bytes(4096))


@pytest.mark.parametrize("stage", STAGES)
def test_a_disk_without_room(small_disk, checkpoint, tmp_path, stage):
    Path(CHECKPOINT).write_bytes(checkpoint)
    codes = []
    for number in range(FREE):
        made_anew(stage)
        small_disk.leave(4096 * (number and 3**number))
        codes.append(on_full_disk(stage, None, tmp_path))
        if codes[-1] == 0:
            break
    assert codes[0] == 2, "there is room for nothing"
    small_disk.ballast.unlink()
    if codes[-1] != 0:
        done = STAGES[stage][1]()
        assert done.code == 0, done.err
    found(f"{stage}: a disk with {len(codes)} free sizes, {codes.count(2)} times full, then it went on")
