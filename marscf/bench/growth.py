"""How the cost of a model grows: with the image's side, the batch, the test set, depth and components."""

import math
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import torch

from marscf.bench.measure import interleaved
from marscf.bench.work import Work, noise_batch, prepare
from marscf.counting import counted
from marscf.models.base import DensityModel
from marscf.studies.machine import machine
from marscf.studies.scaling import fit_exponent, levels_at

SIDES, BATCHES, DEPTHS, COMPONENTS = (8, 16, 32, 64), (2, 4, 8, 16), (1, 2, 4, 8), (2, 4, 8, 16)
COSTS = {"seconds": "median_seconds", "memory": "kept_megabytes", "steps": "sequential_steps"}

#: A model for images of a side, with these options.
Build = Callable[[int, dict[str, Any]], DensityModel]


def growth(
    device: torch.device,
    build: Build,
    options: Mapping[str, Any],
    sides: Sequence[int] = SIDES,
    batches: Sequence[int] = BATCHES,
    depths: Sequence[int] = DEPTHS,
    side: int = 16,
    batch_size: int = 4,
    repeats: int = 3,
) -> tuple[list[dict[str, Any]], dict[str, Any]]:
    """Measure training over N, batch, depth and components, sampling over N, evaluation over the test images.

    `options["levels"]` holds at 32×32 and grows with log2 N, as in Lemma A.1. Depth is `steps`, or `blocks`
    of a model that has none; it and `components` are varied where they are among the options. Returns one
    row per point, and the machine's facts with the fitted exponents, `{work over what: {cost: [exponent, low,
    high]}}`, and the line on which the sampler's sequential steps lie.
    """
    depth = "steps" if "steps" in options else "blocks"
    points = [("training", "side", n) for n in sides] + [("training", "batch", n) for n in batches]
    points += [("training", depth, n) for n in depths if depth in options]
    if "components" in options and options.get("coupling") != "affine":
        points += [("training", "components", n) for n in COMPONENTS]
    points += [("sampling", "side", n) for n in sides] + [("evaluation", "images", n) for n in batches]
    rows = []
    for kind, over, size in points:
        n = size if over == "side" else side
        own = {**options, **({over: size} if over in options else {})}
        if "levels" in options:
            own["levels"] = levels_at(n, 32, options["levels"])
        images = size if over in ("batch", "images") else batch_size
        # The test set grows by batches of one size: what is measured is that images cost alike.
        calls = images // min(batches) if over == "images" else 1
        model = build(n, own)
        one = prepare(kind, model, noise_batch(model, images // calls)[0])

        def call(one: Work = one, calls: int = calls) -> None:
            for _ in range(calls):
                one.call()

        (times,) = interleaved([call], repeats, device)
        with counted() as steps:
            one.call()
        row = {"work": kind, "over": over, "size": size, "side": n, "batch_size": images // calls, **own}
        row |= {"median_seconds": times.median}
        row |= {"kept_megabytes": one.kept_bytes() / 1e6, "sequential_steps": steps.total}
        rows.append(row)
    return rows, {"machine": machine(device), "exponents": exponents(rows), "steps": steps_line(rows)}


def exponents(rows: list[dict[str, Any]]) -> dict[str, dict[str, list[float]]]:
    """Fit `cost ~ size^k` for each work over what it was measured: `[k, low, high]`, a 95 % interval."""
    found: dict[str, dict[str, list[float]]] = {}
    for work, over in dict.fromkeys((row["work"], row["over"]) for row in rows):
        own = [row for row in rows if (row["work"], row["over"]) == (work, over)]
        sizes = [row["size"] for row in own]
        for cost, column in COSTS.items():
            values = [row[column] for row in own]
            if all(0 < value < math.inf for value in values) and len(set(values)) > 1:
                fit = fit_exponent(sizes, values)
                found.setdefault(f"{work} over {over}", {})[cost] = [round(k, 3) for k in fit]
    return found


def steps_line(rows: list[dict[str, Any]]) -> dict[str, float]:
    """Return slope and offset of the sampler's steps over N, and how far the farthest count is from them."""
    own = [row for row in rows if row["work"] == "sampling"]
    sides, steps = [row["size"] for row in own], [row["sequential_steps"] for row in own]
    slope = (steps[-1] - steps[0]) / (sides[-1] - sides[0])
    offset = steps[0] - slope * sides[0]
    farthest = max(abs(count - slope * n - offset) for n, count in zip(sides, steps, strict=True))
    return {"slope": slope, "offset": offset, "farthest": farthest}
