"""Altered files: what reads one says so in a line, or gives the numbers and figures that it gave before."""

import contextlib
import random
import shutil
from collections import Counter
from pathlib import Path

import pytest
from altering import WAYS
from counts import count, found
from measured_place import COLLECT, INDEX, INTERPOLATED, RUNS, call, draw

from marscf.reporting import guards

REPORT = Path("reports/quick")
HELP = ("marscf ", "put the right one back", "--accept")  # a refusal has the command, or what to do
RUN = RUNS[3]

READERS = {
    "collect": lambda: call(*COLLECT),
    "check": lambda: call("check", "--scale", "quick"),
    "index": lambda: call(*INDEX),
    "train": lambda: call("train", RUN),
    "sample": lambda: call("sample", RUN, "-n", "4", "--out", "drawn.npy"),
    "likelihood": lambda: call("evaluate", "likelihood", RUN, "--images", "8"),
    "fidelity": lambda: call("evaluate", "fidelity", RUN),
    "floor": lambda: call("evaluate", "floor", "data/runs/quick/digits"),
    "latents": lambda: call("study", "latents", RUN),
}
PAGE = ("collect", "check", "index")
#: Where the numbers and figures of these readers are, besides what they print.
MADE = {
    "collect": [REPORT / "metrics.csv", REPORT / "metrics.json"],
    "index": [REPORT / "index.html", REPORT / "summary.txt"],
    "sample": [Path("drawn.npy")],
    "train": [Path(RUN) / "weights.safetensors"],
}

# what is altered -> who reads it besides
TARGETS = {
    f"{RUN}/weights.safetensors": (*PAGE, "sample", "likelihood", "fidelity", "latents", "train"),
    f"{RUN}/receipt.json": (*PAGE, "sample", "training_curves", "table_equal_time", "train", *PAGE),
    f"{RUN}/finished.json": (*PAGE, "training_curves", "train", *PAGE),
    f"{RUN}/log.jsonl": (*PAGE, "training_curves", "table_equal_time"),
    f"{RUN}/likelihood.json": (*PAGE, "fig08_mnist_samples", "training_curves"),
    f"{RUN}/likelihood.npz": PAGE,
    f"{RUN}/fidelity.json": PAGE,
    "data/runs/quick/digits/floor.json": PAGE,
    f"{RUN}/samples.npy": (*PAGE, "fig08_mnist_samples"),
    f"{RUN}/samples.seal.json": ("fig08_mnist_samples",),
    f"{RUN}/latent_correlation.npz": ("latent_correlation",),
    f"{RUN}/latent_correlation.seal.json": ("latent_correlation",),
    f"{INTERPOLATED}/interpolation.npz": ("index", "fig11_interpolation", "fig12_interpolation_scores"),
    f"{INTERPOLATED}/interpolation.csv": ("index", "table_interpolation"),
    f"{INTERPOLATED}/interpolation_scores.csv": (
        "index",
        "fig12_interpolation_scores",
        "table_interpolation",
    ),
    f"{REPORT}/sampling_speed.csv": (*PAGE, "fig07_sampling_speed"),
    f"{REPORT}/sampling_speed.json": PAGE,
    f"{REPORT}/metrics.csv": ("check", "index"),
    f"{REPORT}/metrics.json": ("check", "index"),
    "data/datasets/digits/manifest.json": (*PAGE, "likelihood", "fidelity", "train", "fig08_mnist_samples"),
    "data/datasets/digits/test.npy": (*PAGE, "likelihood", "floor"),
    "data/datasets/digits/train.npy": (*PAGE, "fidelity", "likelihood"),
    "data/datasets/digits/val.npy": (*PAGE, "fig08_mnist_samples", "latents"),
    "data/datasets/digits/train_labels.npy": PAGE,
    "data/extractors/digits-net/digits/weights.safetensors": ("fidelity", "floor"),
    "data/extractors/digits-net/digits/receipt.json": ("fidelity", "floor"),
}
CACHES = "data/fidelity-cache/*/*"  # arrays, and how far they are


class Place:
    """The working directory: its files as they were, to be put back, and what each reader gave."""

    def __init__(self):
        self.whole = {path: path.read_bytes() for path in Path().rglob("*") if path.is_file()}
        self.given = {}
        for name in sorted({name for names in TARGETS.values() for name in names}):
            self.given[name] = self.read(name)
            assert self.given[name][0].code == 0, (name, self.given[name][0].err)
            self.put_back()
            again, made = self.read(name)
            assert (again.out, made) == (self.given[name][0].out, self.given[name][1]), f"{name} varies"
            self.put_back()

    def read(self, name):
        """Call a reader: what it came to, and the numbers and figures that it made."""
        guards._shared.cache_clear()
        done = READERS[name]() if name in READERS else draw(name)
        drawn = [REPORT / f"figures/{name}.svg", REPORT / f"tables/{name}.csv"]
        return done, {path: path.read_bytes() for path in MADE.get(name, drawn) if path.is_file()}

    def put_back(self):
        """Make the folder what it was."""
        for path in Path().rglob("*"):
            if path.is_file() and path not in self.whole:
                path.unlink()
        for path, content in self.whole.items():
            if not path.is_file() or path.read_bytes() != content:
                path.write_bytes(content)

    def judge(self, name):
        """What a reader made of an altered file: refused, unchanged, or a fault in words."""
        done, made = self.read(name)
        expected, numbers = self.given[name]
        if name == "check" and done.code == 1:
            return "refused"  # a check that fails names the cell
        if done.code == 0:
            same = (done.out, made) == (expected.out, numbers)
            return "unchanged" if same else f"silent: {done.err or done.out:.300}"
        if not done.refused:
            return f"not one line: {done.err[-600:]}"
        return "refused" if any(words in done.err for words in HELP) else f"no command: {done.err}"


@pytest.fixture(scope="module")
def place(whole, tmp_path_factory):
    here = tmp_path_factory.mktemp("altered")
    shutil.copytree(whole, here, dirs_exist_ok=True)
    with contextlib.chdir(here):
        yield Place()


def test_no_alteration_is_silent(place):
    trials, tally, faults = count(60, 1000), Counter(), []
    readers = {**TARGETS, **{str(path): ("fidelity", "floor") for path in Path().glob(CACHES)}}
    names = sorted(name for name in readers if not name.endswith(".lock"))
    number, made = -1, 0
    while made < trials:
        number += 1
        dice = random.Random(number)
        target = Path(names[number % len(names)])
        way = WAYS[number // len(names) % len(WAYS)]
        content = way(target, dice)
        if content in (None, place.whole[target]):
            continue  # a file without a number, or none to swap it with
        made += 1
        target.write_bytes(content)
        verdicts = [(name, place.judge(name)) for name in readers[str(target)]]
        place.put_back()
        for name, verdict in verdicts:
            tally[verdict if verdict in ("refused", "unchanged") else "fault"] += 1
            if verdict not in ("refused", "unchanged"):
                faults.append(f"{number}: {target} {way.__name__}: {name}: {verdict}")
    found(f"{trials:,} alterations: {dict(tally)}")
    assert not faults, "\n".join(faults)
