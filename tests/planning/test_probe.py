"""The probe against what is true: lines through small batches, and what training and measuring take."""

import json
import resource
import subprocess
import sys
import time
from pathlib import Path

import pytest
import torch

from marscf.config import load_config, resolve
from marscf.planning import probe

CPU = torch.device("cpu")


def busy(seconds):
    """Use the processor for so long."""
    end = time.process_time() + seconds
    while time.process_time() < end:
        pass


def test_a_quick_batch_is_timed_itself():
    sizes = []

    def work(n):
        sizes.append(n)
        busy(0.002)

    found = probe.timed(work, 100, CPU)
    assert sizes[-1] == 100 and found.cpu_seconds == pytest.approx(0.002, rel=0.5)


def test_a_long_batch_is_on_the_line_through_smaller_ones(monkeypatch):
    monkeypatch.setattr(probe, "LONG", 0.03)
    sizes = []

    def work(n):
        sizes.append(n)
        busy(0.02 + 0.004 * n)

    found = probe.timed(work, 1000, CPU)
    assert max(sizes) < 100 and found.cpu_seconds == pytest.approx(0.02 + 4, rel=0.3)


def test_a_gpu_that_is_full_stops_the_growth(monkeypatch):
    def work(n):
        if n > 8:
            raise torch.OutOfMemoryError
        busy(0.001 * n)

    assert probe.timed(work, 100, CPU).cpu_seconds == pytest.approx(0.1, rel=0.4)
    with pytest.raises(torch.OutOfMemoryError):
        probe.timed(lambda n: work(9), 100, CPU)


def test_the_probe_of_a_model():
    values = resolve(load_config(), "quick", "digits", "marscf-affine", 0).to_json()
    values["options"] |= {"steps": 1, "channels": 4}
    probe.start(1)
    found = probe.probe(values, 16, 16, "cpu", None, None)
    assert found.source == probe.MEASURED and found.noisy
    assert found.step.seconds > found.score.seconds > 0 and found.sample.seconds > 0
    assert found.base_bytes > 10**8
    counts = found.counts
    assert counts.parameters > 1000 and counts.gflops_per_image > 0
    assert 0 < counts.kept_if_recomputed < counts.kept_bytes


@pytest.mark.long
def test_a_plan_is_what_training_and_measuring_then_take(tmp_path):
    """In processor seconds, which other users of the machine change little; measured one after the other."""
    repository = Path(__file__).parents[2]
    for name in ("config", "reports"):
        (tmp_path / name).symlink_to(repository / name)

    def call(*arguments):
        command = [sys.executable, "-m", "marscf", *arguments]
        return subprocess.run(command, cwd=tmp_path, check=True, capture_output=True, text=True).stdout

    systems = ("glow", "flowpp", "pixelcnn")
    call("data", "digits")
    call("evaluate", "extractor", "digits")
    text = call("plan", "--scale", "quick", "--systems", ",".join(systems), "--cores", "1", "--json")
    runs = {one["run"]: one for one in json.loads(text)["runs"]}
    planned = taken = 0.0
    for system in systems:
        path = f"data/runs/quick/digits/{system}/seed0"
        planned += sum(runs[path][part]["cpu_seconds"] for part in ("train", "likelihood", "fidelity"))
        before = resource.getrusage(resource.RUSAGE_CHILDREN)
        call("train", path)
        call("evaluate", "likelihood", path)
        call("evaluate", "fidelity", path)
        after = resource.getrusage(resource.RUSAGE_CHILDREN)
        taken += after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime
    assert planned == pytest.approx(taken, rel=0.3)
