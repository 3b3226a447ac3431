"""Inception's weights: where they are, how to come by them, and a record of it where they cannot be had.

It needs no torch: Snakemake asks it when it starts. `MARSCF_INCEPTION` is a file, `MARSCF_MIRROR` a folder or
an fsspec address that holds inception/<file>, and `MARSCF_OFFLINE` forbids the download.
"""

import os
from pathlib import Path

from marscf.environment import given, switch
from marscf.errors import CheckpointError, MarscfError
from marscf.files import read_json, sha256_file, write_json

INCEPTION_FILE = "weights-inception-2015-12-05-6726825d.pth"
INCEPTION_SHA256 = "6726825d"  # how the published file's hash begins; its name says so
INCEPTION_FOLDER = Path("data/extractors/inception")
RECORD = INCEPTION_FOLDER / "record.json"


def at_hand(weights: str | Path | None = None, mirror: str | None = None) -> Path | None:
    """Return the file where it is on this machine, None where it is not.

    Looked for in this order: `weights` or MARSCF_INCEPTION; `mirror` (MARSCF_MIRROR) `/inception/<file>`;
    `data/extractors/inception`. Raises `CheckpointError` for `weights` that are not there.
    """
    if named := weights or given("MARSCF_INCEPTION"):
        if not Path(named).is_file():
            raise CheckpointError(f"no Inception weights at {named} (--inception-weights, MARSCF_INCEPTION)")
        return Path(named)
    mirror = mirror or given("MARSCF_MIRROR")
    local = [Path(mirror.removeprefix("file://")) / "inception"] if mirror and _is_local(mirror) else []
    paths = (folder / INCEPTION_FILE for folder in (*local, INCEPTION_FOLDER))
    return next((path for path in paths if path.is_file()), None)


def find_inception(
    weights: str | Path | None = None, mirror: str | None = None, offline: bool | None = None
) -> Path:
    """Return the file with Inception's weights, downloading it from torch-fidelity's address if need be.

    Looked for as in `at_hand`, then at a remote `mirror`. `offline` (MARSCF_OFFLINE) forbids the download.
    Raises `CheckpointError` naming the file and these ways.
    """
    if path := at_hand(weights, mirror):
        return path
    mirror = mirror or given("MARSCF_MIRROR")
    if offline is None:
        offline = switch("MARSCF_OFFLINE")
    from torch_fidelity.feature_extractor_inceptionv3 import URL_INCEPTION_V3

    reason = f"--offline forbids to download it from {URL_INCEPTION_V3}"
    if not offline:
        remote = mirror and not _is_local(mirror)
        addresses = [f"{mirror.rstrip('/')}/inception/{INCEPTION_FILE}"] if mirror and remote else []
        try:
            return _download([*addresses, URL_INCEPTION_V3], INCEPTION_FOLDER / INCEPTION_FILE)
        except MarscfError as error:
            reason = str(error).partition("; check the network")[0]
    raise CheckpointError(
        f"no Inception weights {INCEPTION_FILE} ({reason}); put the file into {INCEPTION_FOLDER} or "
        "MIRROR/inception/, or name it by --inception-weights or the environment's MARSCF_INCEPTION"
    )


def record_inception() -> str | None:
    """Fetch the weights if need be, and note whether they are there; return why not, or None.

    A report is made without them; the record is what its page says about that.
    """
    try:
        find_inception()
        missing = None
    except CheckpointError as error:
        missing = str(error)
    write_json(RECORD, {"missing": missing})
    return missing


def recorded_missing() -> str | None:
    """Return why the weights could not be had, by the record; None where they could, or nobody looked."""
    return read_json(RECORD)["missing"] if RECORD.is_file() else None


def without(missing: str) -> str:
    """Return the line that says what a report lacks without the weights, and how to have it later."""
    return (
        f"FID, KID, Inception scores, precision and recall are not measured: {missing}. "
        "Then the same call of snakemake measures them."
    )


def _is_local(mirror: str) -> bool:
    return "://" not in mirror or mirror.startswith("file://")


def _download(urls: list[str], target: Path) -> Path:
    from marscf.data.download import Expected, download

    incoming = target.with_name(f"incoming-{target.name}")
    download(urls, incoming, Expected())
    sha256 = sha256_file(incoming)
    if not sha256.startswith(INCEPTION_SHA256):
        incoming.unlink()
        raise CheckpointError(f"what was downloaded has SHA-256 {sha256[:8]}…, not {INCEPTION_SHA256}…")
    os.replace(incoming, target)
    return target
