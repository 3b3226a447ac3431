"""Measurement files: numbers with a standard error, a sample size and the line that makes them comparable."""

import math
from dataclasses import asdict
from pathlib import Path
from typing import Any

from marscf.errors import EvaluationError
from marscf.files import sha256_file, write_json
from marscf.runs import Run


def measurement(metric: str, value: float, stderr: float | None, n: int, protocol: str) -> dict[str, Any]:
    """Return one measurement; raises `EvaluationError` where a number is not finite.

    `stderr` is the standard error of `value`, None where it has none; `n` is how many images it rests on;
    `protocol` is one line saying what makes the number comparable.
    """
    for name, number in (("value", value), ("standard error", stderr)):
        if number is not None and not math.isfinite(number):
            raise EvaluationError(f"{metric}: the {name} is {number}; nothing was written")
    stderr = None if stderr is None else float(stderr)
    return {"metric": metric, "value": float(value), "stderr": stderr, "n": n, "protocol": protocol}


def write_measurements(path: Path, run: Run, measurements: list[dict[str, Any]], **more: Any) -> None:
    """Write a measurement file, `{"run": …, "measurements": […], …}`, atomically."""
    write_json(path, {"run": asdict(run), "measurements": measurements, **more})


def weights_hash(run: str | Path) -> str:
    """Hex SHA-256 of a run's weights file."""
    from marscf.models import WEIGHTS

    return sha256_file(Path(run) / WEIGHTS)


def table(measurements: list[dict[str, Any]]) -> str:
    """Return the measurements as lines for a terminal."""
    lines = []
    for entry in measurements:
        error = "" if entry["stderr"] is None else f" ± {entry['stderr']:.2g}"
        lines.append(f"{entry['metric']:<26} {entry['value']:.6g}{error}   [{entry['protocol']}]")
    return "\n".join(lines)
