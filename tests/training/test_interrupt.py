"""Stopping by signal and by time, and going on."""

import os
import signal
import time
from types import SimpleNamespace

import pytest
import workers
from comparing import assert_same

from marscf.errors import ConfigError, Interrupted
from marscf.training.interrupt import Stop, parse_duration
from marscf.training.run import train_run


@pytest.mark.parametrize(
    ("text", "seconds"), [("90s", 90), ("9m", 540), ("2h", 7200), ("1h30m", 5400), ("45", 45), ("0.5m", 30)]
)
def test_durations(text, seconds):
    assert parse_duration(text) == seconds


@pytest.mark.parametrize("text", ["", "9 minutes", "m", "-3s", "1y", "9m!"])
def test_no_durations(text):
    with pytest.raises(ConfigError, match="write 90s, 9m, 2h"):
        parse_duration(text)


def test_a_signal_before_the_first_step_ends_at_once():
    with pytest.raises(Interrupted, match="stopped by SIGTERM before the first step"), Stop():
        os.kill(os.getpid(), signal.SIGTERM)
        time.sleep(1)


def test_handlers_are_put_back():
    before = signal.getsignal(signal.SIGINT)
    with Stop():
        assert signal.getsignal(signal.SIGINT) != before
    assert signal.getsignal(signal.SIGINT) == before


def test_a_time_limit_ends_a_model_without_steps_too(make_run):
    folder = make_run("histogram", SimpleNamespace(model="histogram.PixelHistogram"))
    with pytest.raises(Interrupted, match="stopped by the time limit before the end; call again") as raised:
        train_run(folder, "cpu", Stop(0.0))
    assert raised.value.exit_code == 75
    assert not (folder / "receipt.json").exists()
    assert train_run(folder, "cpu", Stop(600.0))["steps"] == 0


def test_stopped_by_signals_and_by_time_and_going_on(processes, make_run, place):
    training = {"steps": 400, "checkpoint_every": 1000, "validate_every": 50}
    folder = make_run(**training)

    def start(**options):
        process = processes.Process(
            target=workers.train, args=(folder, place), kwargs={"log": place / "log", **options}
        )
        process.start()
        return process

    def words():
        return (place / "log").read_text().splitlines()[-1]

    for number in (signal.SIGTERM, signal.SIGINT):
        process = start()
        lines = len((folder / "log.jsonl").read_text().splitlines()) if (folder / "log.jsonl").exists() else 0
        deadline = time.monotonic() + 30
        while time.monotonic() < deadline:  # until it has taken steps of its own
            if (folder / "log.jsonl").exists():
                now = len((folder / "log.jsonl").read_text().splitlines())
                if now > lines + 5:
                    break
            time.sleep(0.01)
        sent = time.monotonic()
        os.kill(process.pid, number)
        process.join(20)
        assert process.exitcode == 75
        assert time.monotonic() - sent < 10
        assert f"stopped by {number.name} at step" in words()
        assert "saved; call again to go on" in words()
        assert len(list(folder.glob("state-*.pt"))) > 0
        assert not (folder / "receipt.json").exists()
    process = start(seconds=0.0)
    process.join(20)
    assert process.exitcode == 75
    assert "stopped by the time limit at step" in words()
    process = start()
    process.join(60)
    assert process.exitcode == 0
    folder = folder.rename(place / "stopped")
    folder = make_run(**training)
    process = start()
    process.join(60)
    assert_same(folder, place / "stopped")
