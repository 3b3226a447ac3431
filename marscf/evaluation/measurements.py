"""Measurement files: numbers with a standard error, a sample size and the line that makes them comparable.

Beside a run's `likelihood.json` lies `likelihood.npz`, its test images one by one: two systems are compared
image by image.
"""

import math
import zipfile
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np

from marscf.errors import EvaluationError, MarscfError
from marscf.files import replacing, sha256_file, write_json
from marscf.runs import Run

PER_IMAGE = "likelihood.npz"


@dataclass(frozen=True)
class PerImage:
    """Log-likelihoods `nats (N,)`, float64, of the first N test images, in their order.

    `dims` is what bits/dim divides by, `data` the digest of the dataset that the images are of.
    """

    nats: np.ndarray
    dims: int
    data: str

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


def write_measurements(path: Path, run: Run, measurements: list[dict[str, Any]], **more: Any) -> None:
    """Write a measurement file, `{"run": …, "measurements": […], …}`, atomically."""
    write_json(path, {"run": asdict(run), "measurements": measurements, **more})


def write_per_image(run: str | Path, scores: PerImage) -> None:
    """Write RUN/likelihood.npz, atomically; the same scores give the same bytes."""
    with replacing(Path(run) / PER_IMAGE) as temporary:
        np.savez(temporary, **vars(scores))


def read_per_image(run: str | Path) -> PerImage | None:
    """Read RUN/likelihood.npz, None where there is none; raises `MarscfError` where it is damaged."""
    path = Path(run) / PER_IMAGE
    try:
        with np.load(path, allow_pickle=False) as content:
            return PerImage(content["nats"], int(content["dims"]), str(content["data"]))
    except FileNotFoundError:
        return None
    except (OSError, ValueError, KeyError, zipfile.BadZipFile) as error:
        raise MarscfError(f"{path} is damaged ({error}); delete it and measure again") from None


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
