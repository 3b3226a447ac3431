"""Training, evaluation and sampling of the multi-scale flow: fast code against the step-by-step reference."""

import csv
import io
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from marscf.bench.measure import counted_flops, interleaved, kept_bytes, matmul_rate, ratio
from marscf.bench.reference import stepwise
from marscf.files import replacing, write_json
from marscf.models.multiscale_flow import MultiScaleFlow
from marscf.studies.machine import machine


def trained_like(options: dict[str, Any], side: int, device: torch.device, seed: int = 0) -> MultiScaleFlow:
    """A model with data-initialised ActNorm and small noise where weights start at zero."""
    torch.manual_seed(seed)
    model = MultiScaleFlow((3, side, side), 256, **options)
    model.initialise(torch.randint(0, 256, (16, 3, side, side), dtype=torch.uint8), model.draw_noise(16))
    with torch.no_grad():
        for parameter in model.parameters():
            if not parameter.any():
                parameter.normal_(std=0.01)
    return model.to(device)


def bench(
    work: str,
    device: torch.device,
    options: dict[str, Any],
    side: int = 32,
    batch_size: int = 16,
    repeats: int = 3,
) -> tuple[list[dict[str, Any]], dict[str, Any]]:
    """Time one kind of work, implementations in turn; returns a row for each, and the machine's facts.

    Training is forward, backward and an Adamax step, data on the device; evaluation is `log_prob` without
    gradients; sampling is from noise to `uint8` images.
    """
    fast = trained_like(options, side, device)
    generator = torch.Generator().manual_seed(1)
    x = torch.randint(0, 256, (batch_size, 3, side, side), generator=generator).to(device, torch.uint8)
    noise = fast.draw_noise(batch_size, generator)
    eps = fast.draw_eps(batch_size, generator=generator)
    implementations = {"stepwise float32": (stepwise(fast), False), "float32": (fast, False)}
    if work == "training":
        implementations["bfloat16"] = (trained_like(options, side, device), True)
    works, kept, flops = [], [], []
    for model, low_precision in implementations.values():
        model.train(work == "training")
        optimiser = torch.optim.Adamax(model.parameters(), lr=1e-5)

        def loss(model=model, low_precision=low_precision) -> Tensor:
            with torch.autocast(device.type, torch.bfloat16, enabled=low_precision):
                return model.training_loss(x, noise).mean()

        def training_step(model=model, optimiser=optimiser, loss=loss) -> None:
            optimiser.zero_grad(set_to_none=True)
            loss().backward()
            optimiser.step()

        @torch.no_grad()
        def evaluation(model=model) -> Tensor:
            return model.log_prob(x, noise)

        @torch.no_grad()
        def sampling(model=model) -> Tensor:
            return model.to_discrete(model.decode_noise(eps))

        one = {"training": training_step, "evaluation": evaluation, "sampling": sampling}[work]
        works.append(one)
        kept.append(kept_bytes(loss, list(model.parameters())) if work == "training" else 0)
        flops.append(counted_flops(one))
    times = interleaved(works, repeats, device)
    rows = []
    for name, own, bytes_kept, count in zip(implementations, times, kept, flops, strict=True):
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
