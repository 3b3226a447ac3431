"""What the processes of these tests do; imported once by their fork server."""

import io
import os
import random
import resource
import signal
import sys
from pathlib import Path

import tensorboard  # noqa: F401  what torch imports late, before the fork
import torch
import torch._dynamo
import torch.utils.tensorboard

import marscf.training.train  # noqa: F401
from marscf import files
from marscf.errors import MarscfError
from marscf.training import checkpoints
from marscf.training.interrupt import Stop
from marscf.training.run import train_run

REPOSITORY = Path(__file__).resolve().parents[2]
#: Where other processes find these tests' modules, and the package that is tested.
PYTHONPATH = os.pathsep.join([str(Path(__file__).parent), str(REPOSITORY)])


def nothing():
    pass


def train(
    folder,
    where,
    device="cpu",
    environment=None,
    log=os.devnull,
    kill_at=None,
    limit=None,
    seconds=None,
    double=False,
):
    """Train a run in the working directory `where`; exit with the error's code, its words in `log`.

    `kill_at=(moment, n)` ends the process by SIGKILL at the n-th saving of a state: when a part of it
    is "written", just before it is "renamed", or once it is "saved" and older ones are not deleted yet.
    `limit` is the largest file that may be written, in bytes; `seconds` the time limit; `double` has all
    computed in float64.
    """
    if double:
        torch.set_default_dtype(torch.float64)
    os.chdir(where)
    os.environ.update(environment or {})
    with Path(log).open("w", buffering=1) as sys.stderr:
        if kill_at is not None:
            _arm(*kill_at)
        if limit is not None:
            resource.setrlimit(resource.RLIMIT_FSIZE, (limit, limit))
        code = 0
        try:
            with Stop(seconds) as stop:
                train_run(folder, device, stop)
        except MarscfError as error:
            print(error, file=sys.stderr, flush=True)
            code = error.exit_code
        os._exit(code)


def _arm(moment, n):
    saved = 0
    replace = os.replace

    class KillingFile(io.FileIO):
        def write(self, content):
            nonlocal saved
            saved += len(content) > 32  # the checksum is written by itself
            if moment == "written" and saved == n:
                super().write(content[: random.randrange(len(content))])
                _die()
            return super().write(content)

    def killing_replace(source, target):
        now = saved == n and Path(target).name.startswith("state-")
        if now and moment == "renamed":
            _die()
        replace(source, target)
        if now and moment == "saved":
            _die()

    checkpoints.open = KillingFile
    files.os.replace = killing_replace


def _die():
    os.kill(os.getpid(), signal.SIGKILL)
