"""Training states on disk: the two newest are kept, and a damaged one is refused.

States of another config or other data are put aside, in `superseded/`, until the new training is done. Where
the config is put back before, it goes on with them.

A state is one `torch.save` archive of tensors and plain values, followed by the SHA-256 of all its bytes
(`torch.load(path, weights_only=True)` reads it as it is). It is written beside its name and renamed.
"""

import hashlib
import io
import os
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import torch

from marscf.errors import CheckpointError, MarscfError
from marscf.files import remove_leftovers, replacing, sha256_file
from marscf.models import WEIGHTS
from marscf.runs import FINISHED, RECEIPT, difference
from marscf.settings import RunConfig
from marscf.training.log import LOG

_PATTERN = "state-*.pt"
SUPERSEDED = "superseded"


class OtherTraining(CheckpointError):
    """A state is whole, but of another config or of other data."""


class Checkpoints:
    """The states in a run's folder that belong to one config and one dataset."""

    def __init__(self, folder: Path, config: RunConfig, data_digest: str):
        self.folder, self.aside = folder, folder / SUPERSEDED
        self.config, self.data_digest = config, data_digest
        self.refused: list[str] = []  # why the last `newest` refused states, one line each
        self._good: list[Path] = []  # known to be undamaged, oldest first

    def save(self, step: int, state: dict[str, Any]) -> Path:
        """Write the state after `step` steps, then delete all but it and the last good one before it."""
        path = self.folder / f"state-{step:08d}.pt"
        buffer = io.BytesIO()
        identity = {"config": self.config.to_json(), "data_digest": self.data_digest}
        torch.save({"step": step, **identity, **state}, buffer)
        content = buffer.getbuffer()
        with replacing(path) as temporary, open(temporary, "wb") as stream:
            stream.write(content)
            stream.write(hashlib.sha256(content).digest())
            stream.flush()
            os.fsync(stream.fileno())
        self._good = [*[p for p in self._good if p != path][-1:], path]
        for other in self.folder.glob(_PATTERN):
            if other not in self._good:
                other.unlink(missing_ok=True)
        return path

    def newest(self, before: int | None = None) -> dict[str, Any] | None:
        """Load the newest good state (of fewer than `before` steps), or None; `refused` lists bad ones."""
        self.refused = []
        found = [*self.folder.glob(_PATTERN), *self.aside.glob(_PATTERN)]
        for path in sorted(found, key=lambda path: (path.name, path.parent != self.aside), reverse=True):
            try:
                state = self._read(path)
            except OtherTraining as error:
                if path.parent != self.aside:
                    self.refused.append(str(error))
                    self._put_aside(path)
                continue
            except MarscfError as error:
                self.refused.append(str(error))
                continue
            if before is None or state["step"] < before:
                own = self.folder / f"state-{state['step']:08d}.pt"
                os.replace(path, own)  # where it was put aside
                self._good = [own]
                return state
        return None

    def _put_aside(self, path: Path) -> None:
        """Move a state of another training; its name has a part of its hash, since two may be of one step."""
        self.aside.mkdir(exist_ok=True)
        os.replace(path, self.aside / f"{path.stem}-{sha256_file(path)[:8]}.pt")

    def finished(self) -> None:
        """Delete what was put aside: the new training is done."""
        shutil.rmtree(self.aside, ignore_errors=True)

    def discard(self, from_step: int) -> None:
        """Delete the states of `from_step` steps and more."""
        for path, step in self._steps():
            if step >= from_step:
                path.unlink(missing_ok=True)
                self._good = [p for p in self._good if p != path]

    def clean(self) -> None:
        """Delete what a killed process left half written."""
        remove_leftovers(self.folder, _PATTERN, WEIGHTS, FINISHED, RECEIPT, LOG)

    def _steps(self) -> Iterator[tuple[Path, int]]:
        for path in self.folder.glob(_PATTERN):
            digits = path.stem.removeprefix("state-")
            if digits.isdecimal():
                yield path, int(digits)

    def _read(self, path: Path) -> dict[str, Any]:
        content = memoryview(path.read_bytes())
        archive, checksum = content[:-32], bytes(content[-32:])
        if hashlib.sha256(archive).digest() != checksum:
            raise CheckpointError(f"{path} is cut short or altered (its checksum does not fit)")
        state = torch.load(io.BytesIO(archive), map_location="cpu", weights_only=True)
        config = RunConfig.from_json(state["config"], str(path))
        if config != self.config:
            changed = difference(config, self.config)
            raise OtherTraining(f"{path} belongs to another config ({changed})")
        if state["data_digest"] != self.data_digest:
            raise OtherTraining(f"{path} was trained on other data than data/datasets holds now")
        return state
