"""Trainings in processes of their own, which are killed."""

import os
import random
import shutil
import signal

import workers
from comparing import assert_same

MOMENTS = ["written", "renamed", "saved"]


def run(processes, folder, where, **options):
    process = processes.Process(target=workers.train, args=(str(folder), str(where)), kwargs=options)
    process.start()
    process.join(300)
    if process.exitcode is None:
        process.kill()
    return process.exitcode


def kill_at_random_moments(processes, reference, again, place, seconds, savings, seed=None):
    """Kill the run after up to `seconds[k]`, and at as many random savings of a state as `savings` says.

    Between and after the kills it goes on; whenever it comes to its end, it is as if never killed.
    """
    seed = seed or int.from_bytes(os.urandom(4), "big")
    print(f"seed {seed}")  # shown where the test fails
    draw = random.Random(seed)
    kills = [(draw.uniform(0.02, most), None) for most in seconds]
    kills += [(120, (draw.choice(MOMENTS), draw.randint(1, 2))) for _ in range(savings)]
    draw.shuffle(kills)
    folder, finished = again(), 0
    while kills or not finished:
        wait, kill_at = kills[-1] if kills else (120, None)
        process = processes.Process(
            target=workers.train, args=(str(folder), str(place)), kwargs={"kill_at": kill_at}
        )
        process.start()
        process.join(wait)
        if process.exitcode is None:
            process.kill()
            process.join()
            assert kills, "hangs"
        if process.exitcode == 0:
            finished += 1
            assert_same(folder, reference)
            shutil.rmtree(folder)
            folder = again()
        else:
            assert process.exitcode == -signal.SIGKILL
            kills.pop()
