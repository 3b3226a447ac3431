"""The real download path against a local server that misbehaves in every way we could think of."""

import hashlib
import http.server
import re
import threading

import fsspec
import pytest

from marscf.data import download as module
from marscf.data.download import Expected, download
from marscf.errors import DataError

CONTENT = bytes(range(256)) * 2000  # 512,000 bytes
HALF = len(CONTENT) // 2
EXPECTED = Expected("sha256", hashlib.sha256(CONTENT).hexdigest(), len(CONTENT))


class Handler(http.server.BaseHTTPRequestHandler):
    """The first word of the path says how to misbehave."""

    protocol_version = "HTTP/1.1"

    def log_message(self, *args):
        pass

    def do_GET(self):
        server = self.server
        behaviour = self.path.split("/")[1]
        server.requests.append((behaviour, self.headers.get("Range")))
        asked = sum(name == behaviour for name, _ in server.requests)
        start = int(re.search(r"\d+", self.headers.get("Range") or "0")[0])
        self.close_connection = True
        getattr(self, behaviour.replace("-", "_"))(start, asked)

    def answer(self, content, start=0, length=None, status=None, content_range=None):
        self.send_response(status or (206 if start else 200))
        self.send_header("Content-Length", str(len(content) if length is None else length))
        if start or content_range:
            whole = f"bytes {start}-{len(CONTENT) - 1}/{len(CONTENT)}"
            self.send_header("Content-Range", content_range or whole)
        self.send_header("Connection", "close")
        self.end_headers()
        self.wfile.write(content)

    def good(self, start, asked):
        if start >= len(CONTENT):
            self.send_error(416)
        else:
            self.answer(CONTENT[start:], start)

    def no_range(self, start, asked):
        self.answer(CONTENT)

    def truncates(self, start, asked):
        self.answer(CONTENT[start : start + 100_000], start, length=len(CONTENT) - start)

    def truncates_for_ever(self, start, asked):
        self.answer(CONTENT[:HALF], length=len(CONTENT))

    def no_range_cut(self, start, asked):
        self.answer(CONTENT[: 1000 * (asked % 3)], length=len(CONTENT))

    def stalls(self, start, asked):
        if asked == 1:
            self.answer(CONTENT[:HALF], length=len(CONTENT))
            self.wfile.flush()
            self.server.over.wait(20)
        else:
            self.good(start, asked)

    def stalls_for_ever(self, start, asked):
        self.server.over.wait(20)

    def redirects(self, start, asked):
        self.send_response(302)
        self.send_header("Location", "/good/elsewhere")
        self.send_header("Content-Length", "0")
        self.end_headers()

    def loops(self, start, asked):
        self.send_response(302)
        self.send_header("Location", f"/loops/{asked}")
        self.send_header("Content-Length", "0")
        self.end_headers()

    def redirects_to_file(self, start, asked):
        self.send_response(302)
        self.send_header("Location", "file:///etc/passwd")
        self.send_header("Content-Length", "0")
        self.end_headers()

    def says_less(self, start, asked):
        self.answer(CONTENT[start:], start, length=1000)

    def says_more(self, start, asked):
        self.answer(CONTENT[start:], start, length=2 * len(CONTENT))

    def says_nonsense(self, start, asked):
        self.answer(CONTENT[start:], start, length="many")

    def endless(self, start, asked):
        self.send_response(200)
        self.send_header("Connection", "close")
        self.end_headers()
        for _ in range(100):
            self.wfile.write(CONTENT)

    def other_range(self, start, asked):
        if start:
            self.answer(CONTENT[:HALF], 0, status=206, content_range=f"bytes 0-{HALF - 1}/{len(CONTENT)}")
        else:
            self.answer(CONTENT[:HALF], length=len(CONTENT))

    def busy_twice(self, start, asked):
        if asked > 2:
            self.good(start, asked)
        else:
            self.send_error(500 if asked == 1 else 503)

    def always_500(self, start, asked):
        self.send_error(500)

    def absent(self, start, asked):
        self.send_error(404)

    def other_file(self, start, asked):
        self.answer(CONTENT[::-1])

    def flipped_once(self, start, asked):
        self.answer(bytes([CONTENT[0] ^ (asked == 1)]) + CONTENT[1:])

    def hangs_up(self, start, asked):
        self.wfile.write(b"HTTP/1.1 ")

    def not_http(self, start, asked):
        self.wfile.write(b"\x00\xff" * 100_000)


@pytest.fixture
def server(monkeypatch):
    monkeypatch.setattr(module, "TIMEOUT", 0.4)
    monkeypatch.setattr(module.time, "sleep", lambda seconds: None)
    running = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    running.daemon_threads = True
    running.requests, running.over = [], threading.Event()
    running.handle_error = lambda *args: None  # clients that hang up are part of the test
    threading.Thread(target=running.serve_forever, args=(0.05,), daemon=True).start()
    running.url = lambda behaviour: f"http://127.0.0.1:{running.server_port}/{behaviour}/file"
    yield running
    running.over.set()
    running.shutdown()
    running.server_close()


@pytest.mark.parametrize(
    "behaviour",
    [
        "good",
        "no-range",
        "truncates",
        "stalls",
        "redirects",
        "busy-twice",
        "says-less",
        "says-more",
        "says-nonsense",
        "flipped-once",
    ],
)
def test_a_server_that_can_be_helped_delivers(server, tmp_path, behaviour):
    assert download([server.url(behaviour)], tmp_path / "x", EXPECTED) == server.url(behaviour)
    assert (tmp_path / "x").read_bytes() == CONTENT
    assert [path.name for path in tmp_path.iterdir()] == ["x"]


@pytest.mark.parametrize(
    ("behaviour", "words"),
    [
        ("always-500", "answers 500"),
        ("absent", "answers 404"),
        ("other-file", "its sha256 is .* not the published one"),
        ("truncates-for-ever", "ended after 256,000 bytes"),
        ("no-range-cut", "ended after"),
        ("stalls-for-ever", "timed out"),
        ("loops", "redirect"),
        ("redirects-to-file", "file|redirect"),
        ("endless", "more than the 512,000 bytes"),
        ("other-range", "another range"),
        ("hangs-up", "HTTP|BadStatusLine|without response"),
        ("not-http", "."),
    ],
)
def test_a_hopeless_server_is_named_and_the_next_address_taken(server, tmp_path, behaviour, words):
    with pytest.raises(
        DataError, match=rf"cannot download x from {server.url(behaviour)} \(.*{words}.*put the file at"
    ):
        download([server.url(behaviour)], tmp_path / "x", EXPECTED)
    assert not (tmp_path / "x").exists()
    urls = [server.url(behaviour), server.url("good")]
    assert download(urls, tmp_path / "x", EXPECTED) == server.url("good")
    assert (tmp_path / "x").read_bytes() == CONTENT


def test_no_server_at_all(tmp_path, server):
    with pytest.raises(DataError, match=r"refused"):
        download(["http://127.0.0.1:9/x"], tmp_path / "x", EXPECTED)
    with pytest.raises(DataError, match=r"nothing\.invalid"):
        download(["http://nothing.invalid/x"], tmp_path / "x", EXPECTED)


def test_a_later_call_goes_on_where_an_earlier_one_stopped(server, tmp_path):
    (tmp_path / "x.part").write_bytes(CONTENT[:HALF])
    download([server.url("good")], tmp_path / "x", EXPECTED)
    assert server.requests == [("good", f"bytes={HALF}-")]
    assert (tmp_path / "x").read_bytes() == CONTENT


def test_what_was_left_complete_is_only_renamed(server, tmp_path):
    (tmp_path / "x.part").write_bytes(CONTENT)
    download([server.url("absent")], tmp_path / "x", EXPECTED)
    assert server.requests == []


@pytest.mark.parametrize("left", [b"\x01" * HALF, b"\x01" * len(CONTENT), b"\x01" * (len(CONTENT) + 1)])
def test_what_was_left_altered_is_thrown_away(server, tmp_path, left):
    (tmp_path / "x.part").write_bytes(left)
    download([server.url("good")], tmp_path / "x", EXPECTED)
    assert (tmp_path / "x").read_bytes() == CONTENT


def test_file_of_unknown_checksum_is_never_resumed_from_an_earlier_call(server, tmp_path):
    (tmp_path / "x.part").write_bytes(b"\x01" * HALF)
    download([server.url("truncates")], tmp_path / "x", Expected())
    assert (tmp_path / "x").read_bytes() == CONTENT
    assert server.requests[0] == ("truncates", None)


def test_any_fsspec_address(tmp_path):
    with fsspec.open("memory://m/x", "wb") as stream:
        stream.write(CONTENT)
    (tmp_path / "x.part").write_bytes(CONTENT[:HALF])
    download(["memory://m/x"], tmp_path / "x", EXPECTED)
    assert (tmp_path / "x").read_bytes() == CONTENT
    with pytest.raises(DataError, match=r"memory://m/y"):
        download(["memory://m/y"], tmp_path / "y", EXPECTED)
    with pytest.raises(DataError, match=r"nosuch"):
        download(["nosuch://m/y"], tmp_path / "y", EXPECTED)


def test_full_or_forbidden_disk_is_told(tmp_path):
    (tmp_path / "a").write_text("a file, no folder")
    with pytest.raises(DataError, match=r"cannot write .*choose another --root"):
        download(["memory://m/x"], tmp_path / "a" / "x", EXPECTED)
