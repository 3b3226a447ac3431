"""Seals: beside a file of the report lies what it is, and what it was made from.

    seal(place, files, weights_sha256=…, data_digest=…)     # by the command that wrote the files
    unsealed(path, place, again, run)                       # by whoever reads one: the path, or an error

A seal holds the SHA-256 of each file and a digest of itself, so that nothing reaches a table or a figure that
was altered, cut, or copied from another run.
"""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from marscf.errors import MarscfError
from marscf.files import digest, read_json, sha256_file, write_json
from marscf.runs import read_receipt

SAMPLES = "samples.seal.json"
INTERPOLATION = "interpolation.seal.json"
LATENTS = "latent_correlation.seal.json"
SWEEP = "sampling_speed.seal.json"
METRICS = "metrics.seal.json"
#: The seal of each file that a command of its own writes.
OF = {
    "samples.npy": SAMPLES,
    "interpolation.npz": INTERPOLATION,
    "interpolation.csv": INTERPOLATION,
    "latent_correlation.npz": LATENTS,
    "sampling_speed.csv": SWEEP,
}


def seal(place: Path, files: Sequence[Path], **origin: str) -> None:
    """Write the seal `place` of files that were made just now, in the same folder."""
    content = {"files": {path.name: sha256_file(path) for path in files}, **origin}
    write_json(place, {**content, "digest": digest(content)})


def unsealed(path: Path, again: str, place: str, run: Path | None = None) -> Path:
    """Return `path` where it is what its seal says, and was made from what the folder `run` has now.

    Raises `MarscfError` that names the file and the command `again`.
    """
    if not path.is_file():
        raise MarscfError(f"no {path}; make it with: {again}")
    try:
        content = read_json(path.with_name(place))
        known = {name: value for name, value in content.items() if name != "digest"}
        whole = content["digest"] == digest(known) and known["files"][path.name] == sha256_file(path)
    except (MarscfError, KeyError, TypeError, AttributeError):
        whole, known = False, {}
    if not whole:
        raise MarscfError(f"{path} is not the file that {place} tells of; make it again with: {again}")
    receipt: dict[str, Any] = read_receipt(run) if run else {}
    for name, what in (("weights_sha256", "from other weights"), ("data_digest", "on other data")):
        stated = receipt.get(name)
        if stated is not None and known.get(name, stated) != stated:
            raise MarscfError(f"{path} was made {what} than {run} has now; make it again with: {again}")
    return path
