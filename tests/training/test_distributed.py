"""One process or two: same batches, same losses. Parts or one piece: same gradients."""

import os
import socket
import subprocess
import sys

import pytest
import workers
from comparing import log

from marscf.config import load_config, resolve

CONFIG = load_config(workers.REPOSITORY / "config")
TRAINED = sorted(name for name in CONFIG.systems if name != "histogram")
TRAINING = {"steps": 8, "batch_size": 18, "validate_every": 4}
EXACT = {"dropout": 0.0}


def losses(folder):
    keys = ("train_bits_per_dim", "validation_bits_per_dim", "gradient_norm")
    return [line[key] for line in log(folder) for key in keys if key in line]


def train(processes, folder, where, count, **options):
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = str(free.getsockname()[1])
    shared = {"MASTER_ADDR": "127.0.0.1", "MASTER_PORT": port, "WORLD_SIZE": str(count)}
    started = []
    for rank in range(count):
        environment = {**shared, "RANK": str(rank), "LOCAL_RANK": str(rank)}
        process = processes.Process(
            target=workers.train, args=(folder, where), kwargs={"environment": environment, **options}
        )
        process.start()
        started.append(process)
    for process in started:
        process.join(300)
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
@pytest.mark.parametrize("name", TRAINED)
def test_every_system_agrees(processes, make_run, place, name):
    """At scale `quick`, in parts of another number and size: 20 steps, 4 validations.

    In float64, since in float32 a flow's sums in another order part ways: an early step at the full learning
    rate makes 1e-7 into 1e-3.
    """
    config = resolve(CONFIG, "quick", "digits", name, 0)
    training = {"steps": 20, "batch_size": 18, "validate_every": 5, "validation_images": 40}
    one, two = [
        train(
            processes,
            make_run(
                name, CONFIG.systems[name], dict(config.options), **{**vars(config.training), **training}
            ),
            place,
            n,
            double=True,
        )
        for n in (1, 2)
    ]
    assert losses(two) == pytest.approx(losses(one), abs=1e-10)
    assert len(losses(one)) == 20 + 20 + 4


@pytest.mark.long
def test_torchrun(processes, make_run, place):
    one = train(processes, make_run(options=EXACT, **TRAINING), place, 1)
    folder = make_run(options=EXACT, **TRAINING)
    command = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node", "2"]
    subprocess.run(
        [*command, "-m", "marscf", "train", folder, "--device", "cpu"],
        check=True,
        timeout=300,
        env={**os.environ, "PYTHONPATH": workers.PYTHONPATH, "OMP_NUM_THREADS": "1"},
    )
    assert losses(folder) == pytest.approx(losses(one), abs=1e-5)
