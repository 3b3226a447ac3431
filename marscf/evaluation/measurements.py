"""Measurement files: numbers with a standard error, a sample size and the line that makes them comparable.

Beside a run's `likelihood.json` lies `likelihood.npz`, its test images one by one and draw by draw: two
systems are compared image by image, and the numbers can be calculated again. `marscf.evaluation.measured`
reads both.
"""

import math
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np

from marscf.errors import EvaluationError
from marscf.files import digest, replacing, sha256_file, write_json
from marscf.runs import Run

PER_IMAGE = "likelihood.npz"
FIELDS = ("metric", "value", "stderr", "n", "protocol")  # of each measurement
#: What a measurement was made from.
ORIGIN = ("weights_sha256", "data_digest", "images_sha256", "per_image_sha256")


@dataclass(frozen=True)
class PerImage:
    """Log-likelihoods `scores (N,P)`, float64, of the first N test images, in their order, in P draws.

    The bound is the mean over the first `draws`, the importance-weighted bound is over the first
    `importance_samples` (0: there is none). `dims` is what bits/dim divides by, `data` the digest of the
    dataset that the images are of.
    """

    scores: np.ndarray
    draws: int
    importance_samples: int
    dims: int
    data: str

    @property
    def nats(self) -> np.ndarray:
        """The bound of each image, `(N,)`."""
        mean: np.ndarray = self.scores[:, : self.draws].mean(axis=1)
        return mean

    @property
    def bits_per_dim(self) -> np.ndarray:
        """The same in bits/dim, `(N,)`."""
        return -self.nats / (self.dims * math.log(2))


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


def write_measurements(path: Path, run: Run, measurements: list[dict[str, Any]], **origin: str) -> None:
    """Write a measurement file, atomically: what was measured, of what (`ORIGIN`), and a digest of it all."""
    content = {"run": asdict(run), "measurements": measurements, **origin}
    write_json(path, {**content, "digest": digest(content)})


def trial(path: Path) -> Path:
    """Where a measurement goes that is not made as the scale says: beside the whole one, which it leaves."""
    return path.with_name(f"trial-{path.name}")


def write_per_image(run: str | Path, scores: PerImage) -> str:
    """Write RUN/likelihood.npz, atomically, and return its SHA-256; the same scores give the same bytes."""
    with replacing(Path(run) / PER_IMAGE) as temporary:
        np.savez(temporary, **vars(scores))
        return sha256_file(temporary)


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
