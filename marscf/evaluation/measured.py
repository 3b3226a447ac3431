"""Measurement files as they are read: refused unless they are of what their folder has now."""

import functools
import hashlib
import zipfile
from pathlib import Path
from typing import Any

import numpy as np

from marscf.data.arrays import MANIFEST, open_split, read_manifest
from marscf.errors import MarscfError
from marscf.evaluation.measurements import FIELDS, ORIGIN, PER_IMAGE, PerImage
from marscf.files import digest, read_json, sha256_file
from marscf.runs import DATASETS, RECEIPT, Run


def read_measurements(path: Path, run: Run) -> list[dict[str, Any]]:
    """Return the measurements of a file; raises `MarscfError` where it is not what `run`'s folder has now.

    It names the file where that was altered, and the command where it was measured of another run, of other
    weights or of other data.
    """
    again = f"run: marscf evaluate {path.stem.replace('_', '-')} {path.parent}"
    try:
        content = read_json(path)
        known = dict(content)
        stated = known.pop("digest", None)
        whole = known.keys() <= {"run", "measurements", *ORIGIN} and stated == digest(known)
        of, measurements = Run(**known["run"]), known["measurements"]
        fields = all(entry.keys() == set(FIELDS) for entry in measurements)
    except (MarscfError, KeyError, TypeError, AttributeError, ValueError):
        whole = fields = False
    if not (whole and fields):
        raise MarscfError(f"{path} is damaged or was altered; {again}")
    if of != run:
        raise MarscfError(f"{path} was measured of {of.path}, not of its folder; {again}")
    images = measurements[0]["n"] if measurements and "images_sha256" in known else 0
    for name, (what, value) in _origin(path.parent, run, images).items():
        if value is not None and known.get(name, value) != value:
            raise MarscfError(f"{path} was measured {what} than {path.parent} has now; {again}")
    return measurements


def _origin(folder: Path, run: Run, images: int) -> dict[str, tuple[str, str | None]]:
    """What the measurements in a folder have to be made from, as far as it is known here.

    `images` is how many test images were scored, as far as these are recorded.
    """
    receipt = read_json(folder / RECEIPT) if (folder / RECEIPT).is_file() else {}
    prepared = (DATASETS / run.dataset / MANIFEST).is_file()
    data = read_manifest(run.dataset)["digest"] if prepared else receipt.get("data_digest")
    scores = folder / PER_IMAGE
    return {
        "weights_sha256": ("with other weights", receipt.get("weights_sha256")),
        "data_digest": ("on other data", data),
        "images_sha256": (
            "on other images",
            images_hash(run.dataset, images) if images and prepared else None,
        ),
        "per_image_sha256": ("with other scores", sha256_file(scores) if scores.is_file() else None),
    }


def images_hash(dataset: str, count: int) -> str:
    """Hex SHA-256 of the first `count` test images."""
    return _images_hash(dataset, read_manifest(dataset)["splits"]["test"]["sha256"], count)


@functools.cache
def _images_hash(dataset: str, sha256: str, count: int) -> str:
    return hashlib.sha256(np.array(open_split(dataset, "test")[:count]).data).hexdigest()


def read_per_image(run: str | Path) -> PerImage | None:
    """Read RUN/likelihood.npz, None where there is none; raises `MarscfError` where it is damaged."""
    path = Path(run) / PER_IMAGE
    try:
        with np.load(path, allow_pickle=False) as content:
            numbers = {name: int(content[name]) for name in ("draws", "importance_samples", "dims")}
            return PerImage(content["scores"], data=str(content["data"]), **numbers)
    except FileNotFoundError:
        return None
    except (OSError, ValueError, KeyError, EOFError, zipfile.BadZipFile) as error:
        raise MarscfError(f"{path} is damaged ({error}); run: marscf evaluate likelihood {run}") from None
