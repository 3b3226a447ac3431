"""Training, evaluation and sampling of the multi-scale flow: fast code against the step-by-step reference."""

import copy
import csv
import io
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import torch

from marscf.bench import authors
from marscf.bench.measure import counted_flops, interleaved, matmul_rate, peak_bytes, profiled, ratio
from marscf.bench.reference import stepwise
from marscf.bench.work import Work, noise_batch, prepare, trained_like
from marscf.devices import computes_in_bfloat16
from marscf.errors import ConfigError
from marscf.files import replacing, write_json
from marscf.kernels import graphs
from marscf.studies.machine import machine


def bench(
    work: str,
    device: torch.device,
    options: dict[str, Any],
    side: int = 32,
    batch_size: int = 16,
    repeats: int = 3,
    authors_code: Path | None = None,
    fuse: bool = False,
) -> tuple[list[dict[str, Any]], dict[str, Any]]:
    """Time one kind of work, implementations in turn; returns a row for each, and the machine's facts.

    With `authors_code`, a checkout of it, theirs is one of them, and all have its weights. On a GPU ours are
    measured as CUDA graphs too, and with `fuse` as compiled ones.
    """
    works: dict[str, Work] = {}
    facts: dict[str, Any] = {"machine": machine(device)}
    if authors_code is None:
        fast = trained_like(options, side, device)
    else:
        if side != authors.SIDE:
            raise ConfigError(f"--side {side}: the authors' code has {authors.SIDE}")
        theirs = authors.load(authors_code, options, batch_size).to(device)
        fast = authors.ours(theirs, options).to(device)
        facts["bits_per_dim_from_authors"] = authors.difference(theirs, fast, batch_size)
        works["authors' code"] = authors.prepare(work, theirs, batch_size)
    x = noise_batch(fast, batch_size)[0]
    works["stepwise float32"] = prepare(work, stepwise(fast), x, plain=True)
    kinds = [torch.float32] + [torch.bfloat16] * computes_in_bfloat16(device)
    low = work == "training" and torch.bfloat16 in kinds
    for name, how in ways(low, graphs.serve(device), fuse, checkpoint=work == "training"):
        works[name] = prepare(work, copy.deepcopy(fast), x, **how)
    # One count for all of ours: of what is recorded or compiled nothing can be counted.
    counts = {name: counted_flops(works[name].call) for name in works if name in COUNTED}
    flops = [counts.get(name, counts["float32"]) for name in works]
    kept = [one.kept_bytes() for one in works.values()]
    peaks = [peak_bytes(one.call, device) for one in works.values()]
    times = interleaved([one.call for one in works.values()], repeats, device)
    reference = times[list(works).index("stepwise float32")]
    rows = []
    for name, own, bytes_kept, peak, count in zip(works, times, kept, peaks, flops, strict=True):
        middle, least, greatest = ratio(reference, own)
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
                "speed_over_authors": None if authors_code is None else ratio(times[0], own)[0],
                "gigaflop": count / 1e9,
                "kept_megabytes": bytes_kept / 1e6,
                "peak_megabytes": None if peak is None else peak / 1e6,
            }
        )
    facts["matmul_flops"] = {str(kind).removeprefix("torch."): matmul_rate(device, kind) for kind in kinds}
    profiles = [profiled(one.call, device) for one in works.values()]
    facts["profile"] = {name: shares for name, (shares, _) in zip(works, profiles, strict=True)}
    for row, (_, launches) in zip(rows, profiles, strict=True):
        row["launches"] = launches
        kind = row["implementation"].split()[0]
        kind = kind if kind in facts["matmul_flops"] else "float32"
        row["share_of_matmul_rate"] = (
            1e9 * row["gigaflop"] / row["median_seconds"] / facts["matmul_flops"][kind]
        )
    return rows, facts


COUNTED = ("authors' code", "stepwise float32", "float32")


def ways(
    low_precision: bool, record: bool, fuse: bool, checkpoint: bool
) -> Iterator[tuple[str, dict[str, bool]]]:
    """Name the ways in which our code can do the work, and what they are to `prepare`."""
    hows = [(False, False), *([(True, False)] if record else []), *([(record, True)] if fuse else [])]
    for recorded, fused in hows:
        for low in (False, True)[: 1 + low_precision]:
            name = ("bfloat16" if low else "float32") + " compiled" * fused + " graph" * recorded
            if not (low and record and not recorded):  # launches, not precision, are what that would time
                yield name, {"low_precision": low, "recorded": recorded, "fuse": fused}
    if checkpoint:
        yield "float32 checkpointing", {"checkpointing": True}


def write(rows: list[dict[str, Any]], facts: dict[str, Any], prefix: str | Path) -> None:
    """Write `prefix.csv` and `prefix.json`, atomically."""
    text = io.StringIO()
    writer = csv.DictWriter(text, rows[0].keys(), lineterminator="\n")
    writer.writeheader()
    writer.writerows(rows)
    with replacing(f"{prefix}.csv") as temporary:
        temporary.write_text(text.getvalue(), encoding="utf-8")
    write_json(f"{prefix}.json", {**facts, "rows": rows})
