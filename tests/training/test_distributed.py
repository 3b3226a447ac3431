"""One process or two: same batches, same losses. Parts or one piece: same gradients."""

import os
import socket
import subprocess
import sys
from pathlib import Path

import pytest
import workers
from comparing import log

TRAINING = {"steps": 8, "batch_size": 18, "validate_every": 4}
EXACT = {"dropout": 0.0}


def losses(folder):
    keys = ("train_bits_per_dim", "validation_bits_per_dim", "gradient_norm")
    return [line[key] for line in log(folder) for key in keys if key in line]


def train(processes, folder, where, count):
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = str(free.getsockname()[1])
    shared = {"MASTER_ADDR": "127.0.0.1", "MASTER_PORT": port, "WORLD_SIZE": str(count)}
    started = []
    for rank in range(count):
        environment = {**shared, "RANK": str(rank), "LOCAL_RANK": str(rank)}
        process = processes.Process(
            target=workers.train, args=(folder, where), kwargs={"environment": environment}
        )
        process.start()
        started.append(process)
    for process in started:
        process.join(60)
    assert [process.exitcode for process in started] == [0] * count
    return folder.rename(where / f"{count}-{len(list(where.iterdir()))}")


@pytest.mark.parametrize(
    ("options", "training"),
    [(EXACT, {}), ({"dropout": 0.3}, {"accumulate": 2})],
    ids=["no dropout", "dropout, two parts"],
)
def test_two_gloo_processes_agree_with_one(processes, make_run, place, options, training):
    one, two = [
        train(processes, make_run(options=options, **TRAINING, **training), place, count) for count in (1, 2)
    ]
    assert losses(two) == pytest.approx(losses(one), abs=1e-5)
    assert len(losses(one)) == 8 + 8 + 2


def test_accumulation_gives_the_same_losses(processes, make_run, place):
    whole, parts = [
        train(processes, make_run(options=EXACT, **TRAINING, accumulate=n), place, 1) for n in (1, 3)
    ]
    assert losses(parts) == pytest.approx(losses(whole), abs=1e-5)


@pytest.mark.long
def test_torchrun(processes, make_run, place):
    one = train(processes, make_run(options=EXACT, **TRAINING), place, 1)
    folder = make_run(options=EXACT, **TRAINING)
    command = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node", "2"]
    subprocess.run(
        [*command, "-m", "marscf", "train", folder, "--device", "cpu"],
        check=True,
        timeout=300,
        env={**os.environ, "PYTHONPATH": str(Path(__file__).parent), "OMP_NUM_THREADS": "1"},
    )
    assert losses(folder) == pytest.approx(losses(one), abs=1e-5)
