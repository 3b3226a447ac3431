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

from marscf.data.arrays import MANIFEST, read_manifest
from marscf.errors import EvaluationError, MarscfError
from marscf.files import digest, read_json, replacing, sha256_file, write_json
from marscf.runs import DATASETS, RECEIPT, Run

PER_IMAGE = "likelihood.npz"
FIELDS = ("metric", "value", "stderr", "n", "protocol")  # of each measurement
#: What a measurement was made from.
ORIGIN = ("weights_sha256", "data_digest", "per_image_sha256")


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


def write_measurements(path: Path, run: Run, measurements: list[dict[str, Any]], **origin: str) -> None:
    """Write a measurement file, atomically: what was measured, of what (`ORIGIN`), and a digest of it all."""
    content = {"run": asdict(run), "measurements": measurements, **origin}
    write_json(path, {**content, "digest": digest(content)})


def trial(path: Path) -> Path:
    """Where a measurement goes that is not made as the scale says: beside the whole one, which it leaves."""
    return path.with_name(f"trial-{path.name}")


def read_measurements(path: Path, run: Run) -> list[dict[str, Any]]:
    """Return the measurements of a file; raises `MarscfError` where it is not what `run`'s folder has now.

    It names the file where that was altered, and the command where it was measured of another run, of other
    weights or of other data.
    """
    content = read_json(path)
    again = f"run: marscf evaluate {path.stem.replace('_', '-')} {path.parent}"
    try:
        known = dict(content)
        stated = known.pop("digest", None)
        whole = known.keys() <= {"run", "measurements", *ORIGIN} and (
            stated is None or stated == digest(known)
        )
        of, measurements = Run(**known["run"]), known["measurements"]
        fields = all(entry.keys() == set(FIELDS) for entry in measurements)
    except (KeyError, TypeError, AttributeError, ValueError):
        whole = fields = False
    if not (whole and fields):
        raise MarscfError(f"{path} is damaged or was altered; {again}")
    if of != run:
        raise MarscfError(f"{path} was measured of {of.path}, not of its folder; {again}")
    for name, (what, value) in _origin(path.parent, run).items():
        if value is not None and known.get(name, value) != value:
            raise MarscfError(f"{path} was measured {what} than {path.parent} has now; {again}")
    return measurements


def _origin(folder: Path, run: Run) -> dict[str, tuple[str, str | None]]:
    """What the measurements in a folder have to be made from, as far as it is known here."""
    receipt = read_json(folder / RECEIPT) if (folder / RECEIPT).is_file() else {}
    manifest = DATASETS / run.dataset / MANIFEST
    data = read_manifest(run.dataset)["digest"] if manifest.is_file() else receipt.get("data_digest")
    scores = folder / PER_IMAGE
    return {
        "weights_sha256": ("with other weights", receipt.get("weights_sha256")),
        "data_digest": ("on other data", data),
        "per_image_sha256": ("with other scores", sha256_file(scores) if scores.is_file() else None),
    }


def write_per_image(run: str | Path, scores: PerImage) -> str:
    """Write RUN/likelihood.npz, atomically, and return its SHA-256; the same scores give the same bytes."""
    with replacing(Path(run) / PER_IMAGE) as temporary:
        np.savez(temporary, **vars(scores))
        return sha256_file(temporary)


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
