"""The plan as a person reads it, a line for each system and dataset, and as JSON."""

from collections.abc import Iterator
from typing import Any

from marscf.durations import in_words
from marscf.planning.estimate import Estimate, Whole, gigabytes, unlike
from marscf.planning.probe import MEASURED, ZERO, Timing

COLUMNS = (
    "run",
    "left",
    "parameters",
    "GFLOP/step",
    "steps",
    "s/step",
    "training",
    "measuring",
    "memory",
    "disk",
)


def lines(whole: Whole) -> Iterator[str]:
    """Yield the lines of the plan."""
    scale, machine = whole.selection.scale, whole.machine
    sources = {run.probe.source for run in whole.runs}
    yield f"Scale {scale.name}: {scale.description}."
    if sources == {MEASURED}:
        yield f"On {machine.name}, {machine.at_once} at once, by a few steps of each just now."
    else:
        yield f"On {machine.name}, not on this machine: by the records in reports/bench."
    yield ""
    yield from table([COLUMNS, *(_row(run, whole.runs) for run in unlike(whole.runs))])
    yield ""
    if sources != {MEASURED}:
        for run in unlike(whole.runs):
            yield f"{run.left.run.dataset} {run.left.run.system}: at the rate of {run.probe.source}"
        yield ""
    for name in whole.assumed:
        yield f"{name} is not prepared: it is taken to have 65,000 images"
    memory = max(run.memory() for run in whole.runs)
    of = f" of {gigabytes(machine.memory / machine.at_once)} for each job" if machine.memory else ""
    yield f"Memory: {gigabytes(memory)}{of}, at most."
    disk = f"Disk: {gigabytes(whole.disk)} of {gigabytes(machine.disk)} free."
    yield f"{disk} Download: {gigabytes(whole.download)}."
    parts = {
        "training": sum((run.train for run in whole.runs), ZERO),
        "measuring": sum((run.measuring for run in whole.runs), ZERO),
        "samples and interpolation": sum((run.rest for run in whole.runs), ZERO),
        **whole.others,
        "sampling speeds at most": whole.sweep,
    }
    said = [f"{name} {in_words(timing.seconds)}" for name, timing in parts.items() if timing.seconds]
    if not said:
        yield "Nothing is left to do."
        return
    yield f"Left to do: {', '.join(said)}."
    yield f"Together about {in_words(whole.seconds)}. What is done already is not counted."
    for line in whole.advice():
        yield f"- {line}"


def table(rows: list[tuple[str, ...]]) -> Iterator[str]:
    """Yield rows with their columns in line: words to the left, numbers to the right."""
    widths = [max(len(row[n]) for row in rows) for n in range(len(rows[0]))]
    for row in rows:
        first, *others = (
            cell.ljust(width) if n == 0 else cell.rjust(width)
            for n, (cell, width) in enumerate(zip(row, widths, strict=True))
        )
        yield "  ".join([first, *others]).rstrip()


def _row(run: Estimate, runs: list[Estimate]) -> tuple[str, ...]:
    """A line for all seeds of a system on a dataset."""
    own = [r for r in runs if (r.left.run.dataset, r.left.run.system) == _names(run)]
    open_ones = [r for r in own if not r.left.done]
    probe, batch = run.probe, run.left.config.training.batch_size
    flops = probe.counts.gflops_per_image
    return (
        " ".join(_names(run)),
        f"{len(open_ones)} of {len(own)}",
        f"{probe.counts.parameters:,}",
        "" if flops is None else f"{flops * batch:,.3g}",
        f"{sum(r.left.steps for r in own):,}" if probe.step else "",
        f"{probe.step.seconds:.3g}" if probe.step else "",
        _words(sum((r.train for r in own), ZERO)),
        _words(sum((r.measuring for r in own), ZERO)),
        gigabytes(run.memory()),
        gigabytes(sum(r.disk for r in own)),
    )


def _names(run: Estimate) -> tuple[str, str]:
    return run.left.run.dataset, run.left.run.system


def _words(timing: Timing) -> str:
    return in_words(timing.seconds) if timing.seconds else "done"


def to_json(whole: Whole) -> dict[str, Any]:
    """Return all numbers as JSON values."""
    return {
        "scale": whole.selection.scale.name,
        "machine": vars(whole.machine),
        "runs": [_run_json(run) for run in whole.runs],
        "others": {name: vars(timing) for name, timing in whole.others.items()},
        "sampling_speeds": vars(whole.sweep),
        "total": {**vars(whole.total), "hours": whole.seconds / 3600},
        "download_bytes": whole.download,
        "disk_bytes": whole.disk,
        "assumed_sizes": whole.assumed,
        "advice": list(whole.advice()),
    }


def _run_json(run: Estimate) -> dict[str, Any]:
    probe, batch = run.probe, run.left.config.training.batch_size
    return {
        "run": str(run.left.run.path),
        "source": probe.source,
        "parameters": probe.counts.parameters,
        "gflops_per_step": probe.counts.gflops_per_image and probe.counts.gflops_per_image * batch,
        "steps_left": run.left.steps,
        "seconds_per_step": probe.step and probe.step.seconds,
        **{part: vars(getattr(run, part)) for part in ("train", "likelihood", "fidelity", "rest")},
        "memory_bytes": run.memory(),
        "disk_bytes": run.disk,
    }
