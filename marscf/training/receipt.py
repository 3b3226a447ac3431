"""The receipt of a finished run, its twin `finished.json`, and the machine it was trained on.

Snakemake deletes `receipt.json` before it calls `marscf train` again; `finished.json` is what lets a finished
run give it back, byte for byte, in seconds and without torch.
"""

import functools
import platform
import subprocess
import sys
from pathlib import Path
from typing import Any

from marscf import __version__
from marscf.devices import gpu, machine
from marscf.errors import MarscfError
from marscf.files import read_json, sha256_file, write_json
from marscf.models import WEIGHTS
from marscf.runs import FINISHED, RECEIPT, identity
from marscf.settings import RunConfig


def write(folder: Path, receipt: dict[str, Any]) -> None:
    """Leave the receipt and its twin."""
    write_json(folder / FINISHED, receipt)
    write_json(folder / RECEIPT, receipt)


def restore(folder: Path, config: RunConfig, data_digest: str) -> dict[str, Any] | None:
    """Give a finished run its receipt back, if it was trained with this config and data, else return None.

    Also None where the weights are not the ones of the receipt any more.
    """
    for name in (FINISHED, RECEIPT):
        try:
            receipt = read_json(folder / name)
            fits = (
                receipt["config_hash"] == identity(folder, config) and receipt["data_digest"] == data_digest
            )
            if fits and sha256_file(folder / WEIGHTS) == receipt["weights_sha256"]:
                write(folder, receipt)
                return receipt
        except (MarscfError, OSError, KeyError, TypeError):
            continue
    return None


@functools.cache
def code_version() -> str:
    """The package's version, with the git commit where it is a checkout, `+` where that was edited."""
    folder = Path(__file__).parents[1]

    def git(*arguments: str) -> str:
        return subprocess.run(
            ["git", "-C", folder, *arguments], capture_output=True, text=True, check=True, timeout=10
        ).stdout.strip()

    try:
        commit = git("rev-parse", "--short=12", "HEAD")
        edited = "+" if git("status", "--porcelain", "--untracked-files=no", "--", ".") else ""
        return f"{__version__} ({commit}{edited})"
    except (OSError, subprocess.SubprocessError):
        return __version__


def host(device: Any, processes: int) -> dict[str, Any]:
    """What the run was trained on: processor, GPU, versions; nothing that names the machine."""
    python = platform.python_version()
    where = {"gpu": gpu(device), "device": device.type, "processes": processes, "python": python}
    return {**machine(), **where}


def peak_memory(device: Any) -> int:
    """Return the most bytes held so far: on a GPU by its tensors, else by this process."""
    import torch

    if device.type == "cuda":
        return torch.cuda.max_memory_allocated(device)
    import resource

    scale = 1 if sys.platform == "darwin" else 1024  # ru_maxrss is in kB on Linux
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * scale
