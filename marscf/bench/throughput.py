"""Training, evaluation and sampling of the multi-scale flow: fast code against the step-by-step reference."""

import csv
import io
from pathlib import Path
from typing import Any

import torch

from marscf.bench.measure import counted_flops, interleaved, matmul_rate, peak_bytes, ratio
from marscf.bench.reference import stepwise
from marscf.bench.work import prepare, trained_like
from marscf.files import replacing, write_json
from marscf.studies.machine import machine


def bench(
    work: str,
    device: torch.device,
    options: dict[str, Any],
    side: int = 32,
    batch_size: int = 16,
    repeats: int = 3,
) -> tuple[list[dict[str, Any]], dict[str, Any]]:
    """Time one kind of work, implementations in turn; returns a row for each, and the machine's facts."""
    fast = trained_like(options, side, device)
    works = {
        "stepwise float32": prepare(work, stepwise(fast), batch_size),
        "float32": prepare(work, fast, batch_size),
    }
    if work == "training":
        works["bfloat16"] = prepare(work, trained_like(options, side, device), batch_size, low_precision=True)
    flops = [counted_flops(one.call) for one in works.values()]
    kept = [one.kept_bytes() for one in works.values()]
    peaks = [peak_bytes(one.call, device) for one in works.values()]
    times = interleaved([one.call for one in works.values()], repeats, device)
    rows = []
    for name, own, bytes_kept, peak, count in zip(works, times, kept, peaks, flops, strict=True):
        middle, least, greatest = ratio(times[0], own)
        rows.append(
            {
                "work": work,
                "implementation": name,
                **options,
                "side": side,
                "batch_size": batch_size,
                "median_seconds": own.median,
                "images_per_second": batch_size / own.median,
                "speed_over_reference": middle,
                "slowest_ratio": least,
                "fastest_ratio": greatest,
                "gigaflop": count / 1e9,
                "kept_megabytes": bytes_kept / 1e6,
                "peak_megabytes": None if peak is None else peak / 1e6,
            }
        )
    facts = {
        "machine": machine(device),
        "matmul_flops": {
            str(kind).removeprefix("torch."): matmul_rate(device, kind)
            for kind in (torch.float32, torch.bfloat16)
        },
    }
    for row in rows:
        kind = "bfloat16" if row["implementation"] == "bfloat16" else "float32"
        row["share_of_matmul_rate"] = (
            1e9 * row["gigaflop"] / row["median_seconds"] / facts["matmul_flops"][kind]
        )
    return rows, facts


def write(rows: list[dict[str, Any]], facts: dict[str, Any], prefix: str | Path) -> None:
    """Write `prefix.csv` and `prefix.json`, atomically."""
    text = io.StringIO()
    writer = csv.DictWriter(text, rows[0].keys(), lineterminator="\n")
    writer.writeheader()
    writer.writerows(rows)
    with replacing(f"{prefix}.csv") as temporary:
        temporary.write_text(text.getvalue())
    write_json(f"{prefix}.json", {**facts, "rows": rows})
