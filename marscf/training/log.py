"""What a training says while it runs: `log.jsonl`, TensorBoard and a progress bar."""

import json
import math
import shutil
import sys
from pathlib import Path
from typing import Any

from tqdm import tqdm

from marscf.files import replacing

LOG = "log.jsonl"


def say(line: str) -> None:
    """Print one line on stderr, above the bar where there is one."""
    tqdm.write(f"marscf train: {line}", file=sys.stderr)


class Log:
    """One JSON line per record, TensorBoard where it is installed, and a progress bar on stderr.

    `lines` is how many records a resumed state knows of: later ones, of a process that was killed, are cut
    off and will be written again.
    """

    def __init__(self, folder: Path, name: str, steps: int, batch_size: int, step: int, lines: int):
        self.lines = lines
        self._batch_size = batch_size
        path = folder / LOG
        kept = path.read_bytes().splitlines(keepends=True)[:lines] if lines and path.is_file() else []
        with replacing(path) as temporary:
            temporary.write_bytes(b"".join(kept))
        self._file = path.open("a", encoding="utf-8")
        self._tensorboard = _tensorboard(folder / "tensorboard", step)
        self._smooth: float | None = None
        self._bar = tqdm(
            total=steps * batch_size,
            initial=step * batch_size,
            desc=name,
            unit="image",
            unit_scale=True,
            dynamic_ncols=True,
            mininterval=0.2 if sys.stderr.isatty() else 15,
            smoothing=0.05,
        )

    def advance(self, bits_per_dim: float) -> None:
        """Move the bar by one step whose training loss was `bits_per_dim`."""
        if math.isfinite(bits_per_dim):
            old = bits_per_dim if self._smooth is None else self._smooth
            self._smooth = 0.95 * old + 0.05 * bits_per_dim
            self._bar.set_postfix_str(f"{self._smooth:.3f} bits/dim", refresh=False)
        self._bar.update(self._batch_size)

    def back_to(self, step: int) -> None:
        """Move the bar back."""
        self._bar.n = self._bar.last_print_n = step * self._batch_size
        self._smooth = None

    def write(self, **record: Any) -> None:
        """Append one record."""
        self._file.write(json.dumps(record, allow_nan=False) + "\n")
        self._file.flush()
        self.lines += 1
        if self._tensorboard is not None:
            for key, value in record.items():
                if key not in ("step", "images", "seconds") and isinstance(value, float):
                    self._tensorboard.add_scalar(key, value, record["step"])

    def close(self) -> None:
        """Close files and bar."""
        self._bar.close()
        self._file.close()
        if self._tensorboard is not None:
            self._tensorboard.close()


class Silence(Log):
    """The log of the processes that write nothing."""

    def __init__(self) -> None:
        self.lines = 0

    def advance(self, bits_per_dim: float) -> None:
        """Show nothing."""

    def back_to(self, step: int) -> None:
        """Show nothing."""

    def write(self, **record: Any) -> None:
        """Write nothing."""

    def close(self) -> None:
        """Close nothing."""


def _tensorboard(folder: Path, step: int) -> Any:
    try:
        from torch.utils.tensorboard import SummaryWriter
    except ImportError:
        return None
    if step == 0:
        shutil.rmtree(folder, ignore_errors=True)
    return SummaryWriter(str(folder), purge_step=step + 1)
