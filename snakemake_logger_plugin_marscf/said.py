"""What jobs leave behind that is worth a line: bits/dim, warnings, the end of a log."""

import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

from marscf.durations import in_words
from marscf.errors import MarscfError
from marscf.files import read_json

if TYPE_CHECKING:
    from snakemake_logger_plugin_marscf.jobs import Job

LINES = 12  # of the log of a job that failed
BAR = re.compile(r"\d%\|")  # a progress bar
TOLD = re.compile(r"marscf [a-z-]+: ")  # how our commands begin what is for a person
TAIL = 4096  # bytes at the end of a training's log


def result(job: "Job") -> str | None:
    """Return the line with a finished job's bits/dim, None where it has none."""
    path = Path(job.output[0])
    run = " ".join(path.parts[-4:-1])  # dataset, system, seed
    try:
        found = read_json(path)
        if path.name == "receipt.json" and job.steps is not None:
            bits = found["best_validation_bits_per_dim"]
            chosen = "" if bits is None else f", {bits:.3f} bits/dim on validation images"
            return f"{run}: trained, {in_words(found['seconds'])}{chosen}"
        if path.name == "likelihood.json":
            bits = next(row for row in found["measurements"] if row["metric"] == "bits_per_dim")
            error = "" if bits["stderr"] is None else f" ± {bits['stderr']:.3f}"
            return f"{run}: {bits['value']:.3f}{error} bits/dim on test images"
    except (MarscfError, KeyError, TypeError, StopIteration):
        pass  # what is wrong with the file, the job that reads it says
    return None


def warnings(job: "Job") -> Iterator[str]:
    """Yield what a finished job said to a person, in the words of its log."""
    for path in job.logs:
        for line in _lines(path):
            if TOLD.match(line) and "is finished (" not in line:
                yield line


def last_lines(path: str) -> list[str]:
    """Return the last lines of a job's log, without progress bars."""
    return [line for line in _lines(path) if line.strip() and not BAR.search(line)][-LINES:]


def last_record(run: Path) -> dict[str, Any] | None:
    """Return the last record of a run's training, None where there is none."""
    try:
        with open(run / "log.jsonl", "rb") as file:
            file.seek(max(0, file.seek(0, 2) - TAIL))
            lines = file.read().splitlines()
        return json.loads(lines[-1])
    except (OSError, IndexError, ValueError):  # it may be half written
        return None


def _lines(path: str) -> list[str]:
    try:
        return Path(path).read_text(encoding="utf-8", errors="replace").splitlines()
    except OSError:
        return []
