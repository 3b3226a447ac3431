"""The same DAG on a real Slurm, started on this machine."""

import json
import os
import shutil
import subprocess
import time
from pathlib import Path

import pytest
import yaml

pytestmark = pytest.mark.long

SCRIPT = Path(__file__).with_name("slurm.sh")
PROFILE = ["--profile", "workflow/profiles/slurm"]
HERE = [  # what a site adds to the profile: this one has no accounting, and tests are impatient
    *("--default-resources", "slurm_partition=debug", "runtime=30", "mem_mb=1000"),
    *("--set-threads", "sampling_speed=1"),
    *("--slurm-status-command", "squeue", "--slurm-init-seconds-before-status-checks", "2"),
    *("--seconds-between-status-checks", "2", "--latency-wait", "20"),
]


@pytest.fixture(scope="module")
def cluster(tmp_path_factory):
    if missing := [tool for tool in ("slurmctld", "slurmd", "munged", "srun") if not shutil.which(tool)]:
        pytest.skip(f"no {', '.join(missing)}: apt-get install slurm-wlm munge")
    if os.geteuid():
        pytest.skip("starting Slurm's daemons needs root")
    if Path("/etc/slurm/slurm.conf").is_file():
        pytest.skip("this machine belongs to a Slurm cluster")
    folder = tmp_path_factory.mktemp("slurm")
    subprocess.run([SCRIPT, "up", folder], check=True, timeout=120)
    yield folder
    subprocess.run([SCRIPT, "down", folder], check=True, timeout=120)


def jobs(cluster):
    """What became of each finished job: (name, state)."""
    lines = (cluster / "log" / "jobs.txt").read_text().splitlines()
    fields = [dict(part.split("=", 1) for part in line.split() if "=" in part) for line in lines]
    return [(entry["Name"], entry["JobState"]) for entry in fields]


def test_the_whole_dag(cluster, fresh_checkout):
    fresh_checkout.snakemake(*PROFILE, *HERE)
    assert (fresh_checkout.root / "reports" / "quick" / "index.html").is_file()
    states = [state for _, state in jobs(cluster)]
    assert len(states) > 20 and set(states) == {"COMPLETED"}
    assert not fresh_checkout.planned()  # nothing left for this machine either


def test_a_cancelled_training_is_resubmitted_and_goes_on(cluster, fresh_checkout):
    path = fresh_checkout.root / "config" / "scales" / "quick.yaml"
    scale = yaml.safe_load(path.read_text())
    scale["training"] |= {"steps": 1500, "validate_every": 500, "checkpoint_every": 20}
    path.write_text(yaml.safe_dump(scale))
    run = fresh_checkout.root / "data" / "runs" / "quick" / "digits" / "glow" / "seed0"
    before = len(jobs(cluster))
    process = subprocess.Popen(
        ["snakemake", *PROFILE, *HERE, "models", "--config", "systems=glow"],
        cwd=fresh_checkout.root,
        env=fresh_checkout.environment(),
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )
    try:
        wait_for(lambda: list(run.glob("state-*.pt")), 240)
        assert not (run / "receipt.json").exists()
        states = subprocess.run(["squeue", "--noheader", "--format=%i"], capture_output=True, text=True)
        subprocess.run(["scancel", *states.stdout.split()], check=True)
        output, _ = process.communicate(timeout=600)
    finally:
        process.kill()
    assert process.returncode == 0, output
    ended = [state for _, state in jobs(cluster)[before:]]
    assert ended.count("CANCELLED") == 1 and ended[-1] == "COMPLETED"
    receipt = json.loads((run / "receipt.json").read_text())
    assert receipt["steps"] == 1500
    assert "goes on at step" in (fresh_checkout.root / "logs/quick/digits/glow/seed0/train.log").read_text()


def wait_for(condition, seconds):
    """Return when `condition()` is true."""
    end = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < end, "timed out"
        time.sleep(0.2)
