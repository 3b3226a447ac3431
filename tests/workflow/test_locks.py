"""Two Snakemakes at once, one killed, and trainings that stop in time: clear words, and no damage."""

import json
import os
import re
import signal
import subprocess
import time

import pytest
import yaml

pytestmark = pytest.mark.long

RUN = "data/runs/quick/digits/glow/seed0"
GLOW = ["snakemake", "--cores", "1", "models", "--config", "systems=glow"]


@pytest.fixture
def place(fresh_checkout):
    """A checkout with the digits prepared, in which Glow trains for as many steps as `steps(n)` says."""
    fresh_checkout.call("marscf", "data", "digits")
    return fresh_checkout


def steps(place, count):
    path = place.root / "config" / "scales" / "quick.yaml"
    scale = yaml.safe_load(path.read_text())
    scale["training"] |= {"steps": count, "validate_every": count, "checkpoint_every": 20}
    path.write_text(yaml.safe_dump(scale))


def start(place):
    """Snakemake in a process group of its own, and the training that it started, once that has saved."""
    snakemake = subprocess.Popen(
        GLOW,
        cwd=place.root,
        env=place.environment(),
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        start_new_session=True,
    )
    end = time.monotonic() + 240
    while not list((place.root / RUN).glob("state-*.pt")):
        assert snakemake.poll() is None and time.monotonic() < end, snakemake.communicate()[0]
        time.sleep(0.1)
    return snakemake, int(re.search(r"\d+", (place.root / RUN / ".lock").read_text())[0])


def test_the_second_of_two_stops_and_the_first_goes_on(place):
    steps(place, 1000)
    first, _ = start(place)
    try:
        second = place.call(*GLOW, check=False)
        assert first.poll() is None, "the first was over too soon"
        assert second.returncode != 0
        said = second.stdout + second.stderr
        assert "no other Snakemake process is trying to create the same files" in said
        assert "Traceback" not in said
        output, _ = first.communicate(timeout=600)
    finally:
        first.kill()
    assert first.returncode == 0, output
    assert json.loads((place.root / RUN / "receipt.json").read_text())["steps"] == 1000
    assert "Nothing to be done" in place.call(*GLOW).stderr


def test_after_a_kill_the_words_say_what_to_do_and_doing_it_goes_on(place):
    steps(place, 10**6)  # for ever: until it is stopped below
    snakemake, training = start(place)
    try:
        os.kill(snakemake.pid, signal.SIGKILL)
        snakemake.wait()
        locked = place.call(*GLOW, check=False)
        assert locked.returncode != 0
        assert "--unlock" in locked.stdout + locked.stderr
        place.call("snakemake", "--cores", "1", "--unlock")
        doubled = place.call(*GLOW, check=False)  # the training itself is still there
        assert doubled.returncode != 0
        said = doubled.stdout + doubled.stderr
        assert f"is being trained by process {training}; wait or stop it" in said
        assert "Traceback" not in said
    finally:
        os.kill(training, signal.SIGTERM)
    end = time.monotonic() + 60
    while alive(training):
        assert time.monotonic() < end
        time.sleep(0.1)
    stopped = max((place.root / RUN).glob("state-*.pt")).name
    snakemake, training = start(place)
    try:
        log = place.root / "logs/quick/digits/glow/seed0/train.log"
        end = time.monotonic() + 240
        while "goes on at step" not in log.read_text():
            assert time.monotonic() < end
            time.sleep(0.1)
        assert int(re.search(r"goes on at step (\d+)", log.read_text())[1]) == int(stopped[6:-3])
    finally:
        os.killpg(snakemake.pid, signal.SIGTERM)
        snakemake.communicate(timeout=120)


def alive(process):
    """Whether a process that is no child of this one still runs."""
    try:
        return open(f"/proc/{process}/stat").read().rpartition(")")[2].split()[0] != "Z"
    except FileNotFoundError:
        return False


def test_a_training_that_stopped_in_time_is_called_again_and_goes_on(place):
    steps(place, 10**6)
    started = time.monotonic()
    place.call("marscf", "train", "data/runs/quick/digits/histogram/seed0")
    limit = 3 * (time.monotonic() - started) + 2  # enough for some steps after all imports
    ended = subprocess.run(
        [*GLOW, "--retries", "1"],
        cwd=place.root,
        env=place.environment(MARSCF_TIME_LIMIT=f"{limit:.0f}s"),
        capture_output=True,
        text=True,
    )
    assert ended.returncode != 0
    assert "Trying to restart job" in ended.stdout + ended.stderr
    log = (place.root / "logs/quick/digits/glow/seed0/train.log").read_text()  # of the second attempt
    resumed = int(re.search(r"goes on at step (\d+)", log)[1])
    stopped = int(re.search(r"stopped by the time limit at step (\d+)", log)[1])
    assert 0 < resumed < stopped
