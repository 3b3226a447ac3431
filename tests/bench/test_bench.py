"""The benchmark writes what it measured; its times are never asserted."""

import json
import weakref

import pytest
import torch

from marscf.bench.growth import growth
from marscf.bench.measure import counted_flops, kept_bytes, peak_bytes
from marscf.bench.throughput import bench, write
from marscf.bench.work import trained_like
from marscf.cli import main
from marscf.nets.affine_net import AffineNet
from marscf.studies.scaling import sequential_steps

CPU = torch.device("cpu")
SMALL = {"levels": 2, "steps": 2, "channels": 8, "lstm_channels": 6, "lstm_layers": 2, "dropout": 0.0}


@pytest.mark.parametrize("work", ["training", "evaluation", "sampling"])
def test_bench_writes_what_it_measured(work, tmp_path):
    rows, facts = bench(work, CPU, SMALL, side=8, batch_size=2, repeats=1)
    assert all(row["median_seconds"] > 0 and row["gigaflop"] > 0 for row in rows)
    assert rows[0]["speed_over_reference"] == 1
    assert all((row["kept_megabytes"] > 0) == (work == "training") for row in rows)
    write(rows, facts, tmp_path / "bench")
    assert (tmp_path / "bench.csv").read_text().count("\n") == len(rows) + 1
    assert (tmp_path / "bench.json").is_file()
    assert facts["profile"].keys() == {row["implementation"] for row in rows}
    assert all(sum(shares.values()) == pytest.approx(1, abs=0.01) for shares in facts["profile"].values())
    assert all(row["launches"] == 0 for row in rows)


def test_growth_counts_linear_steps_and_memory_over_the_batch():
    sizes = {"sides": (8, 16, 32), "batches": (2, 4, 8), "depths": (1, 2, 4)}
    build, options = (lambda side, own: trained_like(own, side, CPU)), {**SMALL, "levels": 3}
    rows, facts = growth(CPU, build, options, **sizes, side=8, batch_size=1, repeats=1)
    steps = {row["size"]: row["sequential_steps"] for row in rows if row["work"] == "sampling"}
    assert steps == {side: sequential_steps(3, levels) for side, levels in ((8, 1), (16, 2), (32, 3))}
    assert facts["steps"] == {"slope": 2.25, "offset": -6, "farthest": 0}
    assert facts["exponents"]["training over batch"]["memory"][0] == pytest.approx(1, abs=0.1)
    deep = {row["size"]: row["kept_megabytes"] for row in rows if row["over"] == "steps"}
    assert deep[4] - deep[2] == pytest.approx(2 * (deep[2] - deep[1]), rel=0.05)
    assert {"seconds"} <= facts["exponents"]["evaluation over images"].keys()


def test_peak_memory_is_what_a_call_takes():
    if (peak := peak_bytes(lambda: torch.ones(25_000_000).sum(), CPU)) is None:
        pytest.skip("no /proc here: peak memory is not told")
    assert 95e6 < peak < 150e6
    kept = [bytearray(10_000) for _ in range(20_000)]
    del kept  # free, but the process's still
    small = peak_bytes(lambda: [bytearray(10_000) for _ in range(10_000)], CPU)
    assert 95e6 < small < 150e6


def test_a_convolutions_operations_count_with_and_without_gradients():
    net, x = AffineNet(2, 16, 4).eval(), torch.randn(3, 2, 8, 8)
    expected = 2 * 3 * 64 * (9 * 2 * 16 + 16 * 16 + 9 * 16 * 4)
    assert counted_flops(lambda: net(x)) == expected
    with torch.no_grad():
        assert counted_flops(lambda: net(x)) == expected


def test_counting_what_is_kept_keeps_nothing():
    x, made = torch.ones(5, requires_grad=True), []

    def forward():
        y = x.exp()
        made.append(weakref.ref(y))
        return y.sum()

    assert kept_bytes(forward, [x]) == 20
    assert made[0]() is None


def test_command_keeps_a_history(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    small = ["--levels", "1", "--steps", "1", "--channels", "8", "--side", "8", "--batch-size", "2"]
    for _ in range(2):
        assert main(["bench", "sampling", *small, "--repeats", "1", "--device", "cpu", "--out", "bench"]) == 0
    lines = (tmp_path / "bench" / "history.csv").read_text().splitlines()
    assert len(lines) == 1 + 2 * 2
    assert lines[0].startswith("date,commit,device")
    assert (tmp_path / "bench" / "history.png").stat().st_size > 1000
    assert len(json.loads((tmp_path / "bench" / "sampling-affine.json").read_text())["rows"]) == 2
    report = (tmp_path / "bench" / "README.md").read_text()
    assert "| sampling, affine 1×8, 8×8, batch 2 | float32 |" in report and "history.png" in report
