"""Calls that were killed end in the same arrays."""

import http.server
import os
import random
import shutil
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path

import pytest

from marscf.data import arrays
from marscf.data import prepare as module
from marscf.data.prepare import prepare
from marscf.errors import DataError


def files(folder):
    """Every file of a folder: content and time of last change."""
    return {path.name: (path.read_bytes(), path.stat().st_mtime_ns) for path in folder.iterdir()}


CALL = "import sys; from marscf.cli import main; sys.exit(main(sys.argv[1:]))"


class SlowServer(http.server.BaseHTTPRequestHandler):
    """Serves a folder, ranges included, slowly enough to be interrupted."""

    def log_message(self, *args):
        pass

    def do_GET(self):
        content = (self.server.folder / self.path.lstrip("/")).read_bytes()
        start = int((self.headers.get("Range") or "bytes=0-")[6:-1])
        self.server.resumed += start > 0
        self.send_response(206 if start else 200)
        self.send_header("Content-Length", str(len(content) - start))
        self.send_header("Content-Range", f"bytes {start}-{len(content) - 1}/{len(content)}")
        self.end_headers()
        for at in range(start, len(content), 1 << 16):
            self.wfile.write(content[at : at + (1 << 16)])
            time.sleep(0.003)


def killed_again_and_again(workplace, mirror, times, seed):
    """Download and prepare MNIST, killed with signal 9 at random moments; every tenth call may finish."""
    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), SlowServer)
    server.folder, server.resumed, server.handle_error = mirror, 0, lambda *args: None
    threading.Thread(target=server.serve_forever, daemon=True).start()
    yaml = Path("config").resolve() / "datasets" / "mnist.yaml"
    Path("config").unlink()
    Path("config/datasets").mkdir(parents=True)
    local = yaml.read_text().replace(
        "https://ossci-datasets.s3.amazonaws.com", f"http://127.0.0.1:{server.server_port}"
    )
    Path("config/datasets/mnist.yaml").write_text(local)

    call = [sys.executable, "-c", CALL, "data", "mnist"]
    environment = {key: value for key, value in os.environ.items() if not key.startswith("MARSCF")}
    chance, folder, killed, states = random.Random(seed), Path("data/datasets/mnist"), 0, set()
    started = time.monotonic()
    subprocess.run(call, check=True, capture_output=True, env=environment)
    longest = time.monotonic() - started
    expected = {path.name: path.read_bytes() for path in folder.iterdir()}
    while killed < times:
        if killed % 10 == 0:
            shutil.rmtree(chance.choice(["data", "data/datasets"]), ignore_errors=True)
        elif (folder / "val.npy").exists():
            (folder / "val.npy").write_bytes(b"damaged")
        process = subprocess.Popen(
            call, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, env=environment
        )
        try:
            process.wait(chance.uniform(0.2, 0.6) * longest)
        except subprocess.TimeoutExpired:
            os.kill(process.pid, signal.SIGKILL)
            killed += 1
        process.wait()
        if folder.exists():
            states.add(tuple(sorted(path.name for path in folder.iterdir())))
        try:  # whatever a reader is given at this moment is right
            images = arrays.open_split("mnist", "val")
            assert images.tobytes() == expected["val.npy"][128:]
        except DataError:
            pass
        if killed % 10 == 9 or killed == times:
            subprocess.run(call, check=True, capture_output=True, env=environment)
            assert {path.name: path.read_bytes() for path in folder.iterdir()} == expected
    server.shutdown()
    server.server_close()
    return states, server.resumed


def test_killed_calls_end_in_the_same_arrays(workplace, mirror):
    killed_again_and_again(workplace, mirror, 5, seed=1)


@pytest.mark.long
def test_killed_sixty_times_ends_in_the_same_arrays(workplace, mirror):
    states, resumed = killed_again_and_again(workplace, mirror, 60, seed=2)
    assert any(module.WORK in state for state in states)  # the kills hit the work,
    assert resumed  # and downloads, which went on where they had stopped


def test_work_left_by_a_killed_call_is_removed(tiny):
    prepare(tiny.dataset(), tiny.root, str(tiny.mirror))
    before = files(tiny.root / "tiny")
    work = tiny.root / "tiny" / module.WORK
    work.mkdir()
    (work / "train.npy").write_bytes(b"half")
    (tiny.root / "tiny" / "manifest.json").unlink()
    (tiny.root / "tiny" / "test.npy").write_bytes(b"other")
    prepare(tiny.dataset(), tiny.root, str(tiny.mirror))
    assert {n: c for n, (c, _) in files(tiny.root / "tiny").items()} == {n: c for n, (c, _) in before.items()}
    work.mkdir()  # killed between the last renaming and the cleaning up
    assert prepare(tiny.dataset(), tiny.root, None)[1] == "already prepared, verified"
    assert not work.exists()
