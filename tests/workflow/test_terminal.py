"""What the terminal shows while the workflow runs: few lines, bits/dim, what failed and what to do."""

import io
import json
import logging
import os
import pty
import re
import subprocess
import threading
import time

import pytest
from snakemake_interface_logger_plugins.common import LogEvent
from snakemake_interface_logger_plugins.tests import MockOutputSettings
from snakemake_interface_logger_plugins.tests import TestLogHandlerBase as Contract

from marscf.files import write_json
from snakemake_logger_plugin_marscf import LogHandler, screen
from snakemake_logger_plugin_marscf.jobs import Job, Jobs

RUN = "data/runs/quick/digits/glow/seed0"


class TestContract(Contract):
    """Snakemake's own tests of a logger plugin."""

    __test__ = True

    def get_log_handler_cls(self):
        return LogHandler

    def get_log_handler_settings(self):
        return None


class Told:
    """A handler, what is sent to it, and what it printed."""

    def __init__(self, monkeypatch, **settings):
        self.stream = io.StringIO()
        monkeypatch.setattr("sys.stderr", self.stream)
        asked = MockOutputSettings()
        vars(asked).update(settings)
        self.handler = LogHandler(asked, None)
        self.handler.setFormatter(logging.Formatter("%(message)s"))

    def send(self, event=None, text="", level=logging.INFO, **values):
        record = logging.LogRecord("snakemake", level, "", 0, text, (), None)
        record.event = event
        vars(record).update(values)
        self.handler.handle(record)

    def job(self, number, rule, output, log, **more):
        wildcards = {"scale": "quick", "dataset": "digits", "system": "glow", "seed": "0"}
        values = {"rule_name": rule, "wildcards": wildcards, "output": [output], "log": [str(log)]}
        self.send(LogEvent.JOB_INFO, jobid=number, shellcmd="marscf", **{**values, **more})

    @property
    def lines(self):
        return self.stream.getvalue().splitlines()


@pytest.fixture
def told(monkeypatch, tmp_path):
    """A handler in an empty folder."""
    monkeypatch.chdir(tmp_path)
    shown = Told(monkeypatch)
    yield shown
    shown.handler.close()


def test_bits_per_dim_are_said_as_they_come(told, tmp_path):
    path = tmp_path / RUN / "likelihood.json"
    told.job(4, "likelihood", str(path), "likelihood.log")
    row = {"metric": "bits_per_dim", "value": 2.02476, "stderr": 0.0122}
    write_json(path, {"measurements": [{"metric": "nats_per_image", "value": 1, "stderr": 1}, row]})
    told.send(LogEvent.JOB_FINISHED, job_id=4)
    assert told.lines == ["digits glow seed0: 2.025 ± 0.012 bits/dim on test images"]


def test_a_warning_of_a_job_is_said_and_the_rest_of_its_log_is_not(told, tmp_path):
    (tmp_path / "x.log").write_text(
        "a table\nmarscf train: back to step 3\nmarscf train: X is finished (4)\n"
    )
    told.job(1, "table", "x.csv", "x.log")
    told.send(LogEvent.JOB_FINISHED, job_id=1)
    assert told.lines == ["marscf train: back to step 3"]


def test_a_job_that_failed_shows_the_end_of_its_log_and_what_to_do_once(told, tmp_path):
    said = [f"line {n}" for n in range(50)] + [" 40%|████  | 2/5 [00:01]", "marscf train: disk full"]
    (tmp_path / "train.log").write_text("\n".join(said))
    told.job(7, "train", f"{RUN}/receipt.json", "train.log")
    command = f"marscf train {RUN} --device auto > train.log 2>&1"
    for _ in range(2):  # Snakemake lists it again at the end
        failed = {"rule_name": "train", "output": [], "log": ["train.log"], "shellcmd": command}
        told.send(LogEvent.JOB_ERROR, level=logging.ERROR, jobid=7, **failed)
    lines = told.lines
    assert lines[:2] == ["FAILED: train digits glow seed0", "The end of train.log:"]
    assert (
        lines[-3] == "  | marscf train: disk full" and "  | line 49" in lines and "  | line 38" not in lines
    )
    assert not [line for line in lines if "40%" in line]
    assert "give the same command again" in lines[-2]
    assert lines[-1] == f"This job alone: marscf train {RUN} --device auto"


def test_what_snakemake_warns_of_is_said_and_its_small_talk_is_not(told):
    told.send(text="Building DAG of jobs...")
    told.send(text="Directory cannot be locked", level=logging.ERROR)
    told.send(LogEvent.ERROR, text="WorkflowError: no such rule", level=logging.ERROR)
    told.send(text="Unlocked working directory.")
    assert told.lines == [
        "Directory cannot be locked",
        "WorkflowError: no such rule",
        "Unlocked working directory.",
    ]


def test_a_dry_run_is_as_snakemake_prints_it(monkeypatch):
    shown = Told(monkeypatch, dryrun=True)
    shown.send(LogEvent.JOB_INFO, text="rule train: output: x")
    assert shown.lines == ["rule train: output: x"]


# ---- the time left


def trained(jobs, seconds, number=0):
    job = Job("train", {}, ["a/receipt.json"], [])
    jobs.begin(number, job)
    job.began -= seconds
    jobs.end(number)


def test_the_time_left_is_by_what_jobs_of_the_rule_took():
    jobs = Jobs()
    jobs.expect({"train": 3, "likelihood": 2, "table": 1, "total": 6})
    assert jobs.left() is None  # no training tells yet how long one takes
    trained(jobs, 100)
    assert jobs.left() == pytest.approx(2 * 100 + 2 * 0.3 * 100 + 5, rel=0.01)
    one = Job("likelihood", {}, ["a/likelihood.json"], [])
    jobs.begin(1, one)
    one.began -= 12
    jobs.end(1)
    assert jobs.left() == pytest.approx(2 * 100 + 12 + 5, rel=0.01)


def test_without_a_training_the_time_left_is_said_once_one_of_each_kind_is_done():
    jobs = Jobs()
    jobs.expect({"interpolation": 2, "table": 1, "total": 3})
    jobs.begin(1, Job("interpolation", {}, ["a/interpolation.npz"], []))
    assert jobs.left() is None  # minutes or hours: nothing tells
    jobs.running[1].began -= 1440
    jobs.end(1)
    jobs.begin(2, Job("interpolation", {}, ["b/interpolation.npz"], []))
    assert jobs.left() == pytest.approx(1440 + 5, rel=0.01)


def test_jobs_at_once_share_the_time_left():
    jobs = Jobs()
    jobs.expect({"train": 5, "total": 5})
    trained(jobs, 100)
    for number in (1, 2):
        jobs.begin(number, Job("train", {}, ["a/receipt.json"], []))
        jobs.running[number].began -= 40
    assert jobs.left() == pytest.approx((2 * 100 + 2 * 60) / 2, rel=0.01)


def test_one_long_job_is_not_shared_by_those_that_wait_for_it():
    jobs = Jobs()
    jobs.expect({"train": 4, "figure": 12, "total": 16})
    for number in (1, 2, 3):
        jobs.begin(number, Job("train", {}, ["a/receipt.json"], []))
        jobs.running[number].began -= 3600
    for number in (1, 2, 3):
        jobs.end(number)
    jobs.begin(4, Job("train", {}, ["b/receipt.json"], []))
    assert jobs.left() == pytest.approx(3600, rel=0.01)


def test_a_training_that_runs_tells_how_long_one_takes(tmp_path, monkeypatch):
    monkeypatch.setattr("snakemake_logger_plugin_marscf.jobs.run_config", _config_of(steps=200))
    log = tmp_path / "log.jsonl"
    jobs = Jobs()
    jobs.expect({"train": 2, "total": 2})
    log.write_text(json.dumps({"step": 100}) + "\n")  # an earlier call got so far
    job = Job("train", {}, [str(tmp_path / "receipt.json")], [])
    jobs.begin(1, job)
    job.began -= 30
    assert jobs.left() is None
    log.write_text(json.dumps({"step": 150, "train_bits_per_dim": 2.5}) + "\n{half a li")
    assert job.at() == (0, "")  # its last line is not whole yet
    log.write_text(json.dumps({"step": 150, "train_bits_per_dim": 2.5}) + "\n")
    assert job.at() == (150, "2.500 bits/dim")
    assert job.whole() == pytest.approx(60, rel=0.01)  # a quarter took 30 s, and half was there
    assert jobs.left() == pytest.approx(60 + 30, rel=0.02)


def _config_of(steps):
    from types import SimpleNamespace

    return lambda path: SimpleNamespace(training=SimpleNamespace(steps=steps))


def test_elsewhere_than_on_a_terminal_what_runs_is_a_line_now_and_then(monkeypatch, tmp_path):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(screen, "PLAIN_SECONDS", 0.02)
    shown = Told(monkeypatch)
    shown.send(LogEvent.PROGRESS, done=3, total=9)
    shown.job(1, "table", "x.csv", "x.log")
    deadline = time.monotonic() + 10
    while not shown.lines and time.monotonic() < deadline:
        time.sleep(0.02)
    time.sleep(0.1)
    shown.handler.close()
    assert shown.lines == ["3 of 9 done, about 5 s left. Running: table digits glow seed0"]  # once


# ---- in a workflow


def test_a_whole_call_is_a_few_lines_and_its_log_is_named(fresh_checkout):
    result = fresh_checkout.snakemake(f"{RUN}/likelihood.json", "--config", "systems=glow")
    lines = result.stderr.splitlines()
    assert len(lines) < 10
    assert [line for line in lines if re.fullmatch(r"digits glow seed0: \d\.\d+ ± \d\.\d+ bits/dim .*", line)]
    assert [line for line in lines if re.fullmatch(r"3 of 3 done in \d+ s", line)]
    (named,) = [line.removeprefix("The whole log: ") for line in lines if line.startswith("The whole log")]
    assert "rule likelihood" in (fresh_checkout.root / named).read_text()


def test_a_call_that_fails_names_the_job_the_reason_and_the_log(fresh_checkout):
    words = ["--config", "scale=laptop", "datasets=mnist", "mirror=nowhere"]
    result = fresh_checkout.snakemake(*words, check=False)
    assert result.returncode == 1
    lines = result.stderr.splitlines()
    failed = lines.index("FAILED: dataset mnist")
    assert lines[failed + 1] == "The end of logs/data/mnist.log:"
    assert lines[failed + 2].startswith("  | marscf data: no file nowhere/mnist/")
    assert lines[-1].startswith("The whole log: .snakemake/log/")
    assert len(lines) < 10 and "CalledProcessError" not in result.stderr


def test_on_a_terminal_there_is_a_bar(fresh_checkout):
    main, other = pty.openpty()
    process = subprocess.Popen(
        ["snakemake", "--cores", "2", f"{RUN}/receipt.json", "--config", "systems=glow"],
        cwd=fresh_checkout.root,
        env=fresh_checkout.environment(TERM="xterm", COLUMNS="120"),
        stdout=other,
        stderr=other,
    )
    os.close(other)
    shown = bytearray()
    reader = threading.Thread(target=_read, args=(main, shown))
    reader.start()
    assert process.wait() == 0
    reader.join(30)
    text = re.sub(r"\x1b\[[0-9;?]*[A-Za-z]", "", shown.decode())
    assert re.search(r"train digits glow seed0 .*━", text) and re.search(r"━ \d of 2 done", text)
    assert "digits glow seed0: trained" in text and "2 of 2 done in" in text


def _read(descriptor, into):
    try:
        while part := os.read(descriptor, 65536):
            into.extend(part)
    except OSError:  # Linux's end of a terminal
        pass
