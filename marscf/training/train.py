"""From a run's config to its weights: by gradient steps, or in closed form where the model has one."""

import contextlib
import errno
import os
import shutil
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import torch

from marscf import models
from marscf.code import behind
from marscf.data.arrays import open_split, open_training
from marscf.errors import Interrupted, MarscfError
from marscf.files import write_json
from marscf.models.base import DensityModel
from marscf.runs import FINISHED, RECEIPT
from marscf.settings import RunConfig
from marscf.training.checkpoints import SUPERSEDED, Checkpoints
from marscf.training.distributed import Processes, joined
from marscf.training.finish import finish
from marscf.training.interrupt import Stop
from marscf.training.lock import locked
from marscf.training.log import LOG, say
from marscf.training.loop import Training
from marscf.training.receipt import peak_memory
from marscf.training.run import CODE, identity, known_codes
from marscf.training.state import Record
from marscf.training.validation import Validation

ASIDE = Path(SUPERSEDED) / "finished"  # what was there before a training `again`, until that is done


def train(
    folder: Path, config: RunConfig, data_digest: str, device: str, stop: Stop, anew: bool = False
) -> dict[str, Any]:
    """Train a run to its end and return its receipt; see `marscf.training.run.train_run`.

    If `anew`, what is there is put aside until then.
    """
    now = behind("train", config.model)  # before: its files may be edited while it runs
    with (
        joined(device) as processes,
        _room(folder),
        locked(folder, processes.first),
        _deterministic(processes),
    ):
        if anew:
            if processes.first:
                _put_aside(folder)
            processes.from_first(None)  # the others wait
        if models.model_class(config.model).closed_form:
            code = now
            model, record = _fit(folder, config, processes, stop)
        else:
            code = processes.from_first(
                _code(folder, config, data_digest, now, anew) if processes.first else None
            )
            state = Training(folder, config, data_digest, processes).run(stop)
            model, record = state.averaged, state.record
            if state.best is not None:
                model.load_state_dict(state.best)
        receipt = finish(folder, config, data_digest, model, record, processes, code)
        if processes.first:
            Checkpoints(folder, config, data_digest).finished()
            if (folder / CODE).exists():  # as its states do; those of other configs are gone
                write_json(folder / CODE, {identity(config, data_digest): code.split("+")})
        return receipt


def _code(folder: Path, config: RunConfig, data_digest: str, now: str, anew: bool) -> str:
    """Return the digest of the code that trains; where other code began the training, all that it had.

    They are kept in a file beside the states. A training whose states are there without it was begun by code
    that is not known.
    """
    path, name = folder / CODE, identity(config, data_digest)
    known = known_codes(folder)
    before: list[str] = []
    states = [*folder.glob("state-*.pt"), *(folder / SUPERSEDED).glob("state-*.pt")]
    if states and not anew:
        before = ["unknown"] if known is None else known.get(name, [])
    if before[-1:] != [now]:
        if before:
            say(f"{folder} was begun with other code of its model, or its training; its receipt will say so")
        before = [*before, now]
    write_json(path, {**(known or {}), name: before})
    return "+".join(before)


def _put_aside(folder: Path) -> None:
    """Move all that was trained; its receipt last, so that it is finished as long as it is whole.

    What is aside already stays there: what is in its place was begun `again`, and is deleted.
    """
    aside = folder / ASIDE
    states = [path.name for path in folder.glob("state-*.pt")]
    if (aside / RECEIPT).exists() and not (folder / RECEIPT).exists():
        for name in (*states, LOG):
            (folder / name).unlink(missing_ok=True)
        shutil.rmtree(folder / "tensorboard", ignore_errors=True)
        return
    shutil.rmtree(aside, ignore_errors=True)
    aside.mkdir(parents=True)
    for name in (*states, LOG, "tensorboard", models.WEIGHTS, FINISHED, RECEIPT):
        if (folder / name).exists():
            os.replace(folder / name, aside / name)
    say(f"{folder} is trained anew; what was there is kept in {aside} until then")


def _fit(folder: Path, config: RunConfig, processes: Processes, stop: Stop) -> tuple[DensityModel, Record]:
    started, processor = time.monotonic(), time.process_time()
    model = models.build(config)
    images = open_training(config.dataset, everything=not config.training.validates)
    model.fit(images)
    model.to(processes.device)
    seconds = time.monotonic() - started
    bits_per_dim = None
    if config.training.validates:
        bits_per_dim = Validation(open_split(config.dataset, "val"), config, processes)(model, stop)
        if bits_per_dim is None:
            reason = stop.reason or "another process"
            raise Interrupted(f"{folder}: stopped by {reason} before the end; call again to start")
    return model, Record(
        best_bits_per_dim=bits_per_dim,
        best_step=0,
        seconds=seconds,
        cpu_seconds=time.process_time() - processor,
        timed_seconds=seconds,
        timed_images=len(images),
        peak_memory_bytes=peak_memory(processes.device),
    )


@contextlib.contextmanager
def _deterministic(processes: Processes) -> Iterator[None]:
    """On a CPU, have torch choose deterministic algorithms: there it costs nothing."""
    mode = torch.get_deterministic_debug_mode()
    memory: Any = torch.utils.deterministic  # its switch is a property, which torch's types lack
    fill = memory.fill_uninitialized_memory
    if processes.device.type == "cpu":
        torch.set_deterministic_debug_mode("warn")  # imports less than torch.use_deterministic_algorithms
        memory.fill_uninitialized_memory = False
    try:
        yield
    finally:
        torch.set_deterministic_debug_mode(mode)
        memory.fill_uninitialized_memory = fill


@contextlib.contextmanager
def _room(folder: Path) -> Iterator[None]:
    """Say in one line that the disk is full: files are replaced whole, so what was saved still stands."""
    try:
        yield
    except OSError as error:
        if error.errno not in (errno.ENOSPC, errno.EDQUOT, errno.EFBIG):
            raise
        raise MarscfError(
            f"{folder}: disk full ({error.strerror}); nothing saved is lost: make room and call again"
        ) from error
