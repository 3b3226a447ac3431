"""Several measurements of one run at once: each ends, and all leave what one leaves."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

pytestmark = pytest.mark.long
RUN = Path("data/runs/quick/digits/glow/seed0")
AT_ONCE = 4


@pytest.mark.parametrize("measure", ["likelihood", "fidelity"])
def test_four_at_once(measure, shipped_copy):
    command = [sys.executable, "-m", "marscf", "evaluate", measure, str(RUN), "--device", "cpu"]
    path = RUN / f"{measure}.json"
    path.unlink()
    subprocess.run(command, check=True, capture_output=True)
    alone = path.read_bytes()
    path.unlink()
    for number in range(2):
        processes = [
            subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True)
            for _ in range(AT_ONCE)
        ]
        ends = [(process.communicate()[1], process.returncode) for process in processes]
        assert [code for _, code in ends] == [0] * AT_ONCE, ends
        assert path.read_bytes() == alone, number
    assert not [name for name in os.listdir(RUN) if name.startswith(".")]


def test_a_home_that_cannot_be_written(shipped_copy, tmp_path):
    home = tmp_path / "home"
    home.write_text("a file in the place of a folder")
    words = [("data", "digits"), ("evaluate", "likelihood", str(RUN), "--device", "cpu"), ("check",)]
    words += [
        ("evaluate", "fidelity", str(RUN), "--device", "cpu"),
        ("report", "collect", "--scale", "quick"),
    ]
    for command in words:
        more = ["--runs", str(RUN)] if "collect" in command else []
        done = subprocess.run(
            [sys.executable, "-m", "marscf", *command, *more],
            env={**os.environ, "HOME": str(home), "XDG_CACHE_HOME": str(home / "cache")},
            capture_output=True,
            text=True,
        )
        assert "Traceback" not in done.stderr, done.stderr
        if command != ("check",):  # which misses the other systems
            assert done.returncode == 0, done.stderr
