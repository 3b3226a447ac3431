"""Two runs compared bit for bit."""

import json
from pathlib import Path

import torch

from marscf.runs import read_receipt

TIMES = {"seconds", "cpu_seconds", "timed_seconds", "timed_images", "peak_memory_bytes"}


def final_state(folder):
    """The newest state of a run."""
    return torch.load(max(Path(folder).glob("state-*.pt")), weights_only=True)


def log(folder):
    """The records of a run's log, without the times."""
    lines = [json.loads(line) for line in (Path(folder) / "log.jsonl").read_text().splitlines()]
    return [{k: v for k, v in line.items() if k not in TIMES} for line in lines]


def receipt(folder):
    """The receipt of a run, without the times and what hashes them."""
    content = read_receipt(folder)
    differing = {*TIMES, "train_images_per_second", "log_sha256", "digest"}
    return {key: value for key, value in content.items() if key not in differing}


def files(folder):
    """The names of a run's files: nothing may be left behind. An interruption saves a state of its own."""
    names = (path.name for path in Path(folder).iterdir())
    return sorted(name for name in names if name != "tensorboard" and not name.startswith("state-"))


def assert_same(one, other):
    """Weights, optimiser, averaged weights, best weights, counters and metrics are equal to the last bit.

    The receipts are equal but for the times, and neither run has a file that the other has not.
    """
    assert (Path(one) / "weights.safetensors").read_bytes() == (
        Path(other) / "weights.safetensors"
    ).read_bytes()
    states = [final_state(one), final_state(other)]
    for state in states:
        state["record"] = {k: v for k, v in state["record"].items() if k not in TIMES}
    _assert_equal(*states, "state")
    assert log(one) == log(other)
    assert len(log(one)) > 2
    _assert_equal(receipt(one), receipt(other), "receipt")
    assert files(one) == files(other)


def _assert_equal(a, b, place):
    assert type(a) is type(b), place
    if isinstance(a, dict):
        assert a.keys() == b.keys(), place
        for key in a:
            _assert_equal(a[key], b[key], f"{place}.{key}")
    elif isinstance(a, list):
        assert len(a) == len(b), place
        for k, (x, y) in enumerate(zip(a, b, strict=True)):
            _assert_equal(x, y, f"{place}[{k}]")
    elif isinstance(a, torch.Tensor):
        assert a.dtype == b.dtype and torch.equal(a, b), place
    else:
        assert a == b, place
