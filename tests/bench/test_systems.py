"""`marscf bench --system`: beside a yardstick, another code, and a record."""

import json
import time
from pathlib import Path

import pytest
import torch

from marscf.bench import peers, systems
from marscf.bench.peers import Peer, PeerModel
from marscf.cli import main
from marscf.errors import ConfigError
from marscf.models.multiscale_flow import MultiScaleFlow

CALL = [
    "bench",
    "training",
    "--system",
    "glow",
    "--scale",
    "quick",
    "--dataset",
    "digits",
    "--batch-size",
    "4",
]
CPU = torch.device("cpu")


@pytest.fixture
def made_up_code(tmp_path, monkeypatch):
    """A checkout of a code that was never public, and of an old torch."""
    code = tmp_path / "code"
    code.mkdir()
    (code / "util.py").write_text("from torch import nn\nLAYER = nn.Linear\n")
    (code / "their_model.py").write_text("import util\nNET = util.LAYER(OLD, 1)\n")

    def build(options, shape):
        import their_model

        class Theirs(PeerModel):
            def __init__(self):
                super().__init__()
                self.net, self.steps = their_model.NET, 0

            def before_step(self):
                self.steps += 1

            def nats(self, x):
                return self.net(x.flatten(1).float()).sum()

            def draw(self, n):
                return torch.zeros(n, *shape)

        return Theirs()

    peer = Peer("nowhere", "their_model.py", build, {"steps": 1}, replaced={"their_model.py": ("OLD", "64")})
    monkeypatch.setitem(peers.PEERS, "glow", [peer])
    return code


def rows_of(out, name="training-glow-quick-digits"):
    content = json.loads((out / "systems" / f"{name}.json").read_text())
    return {row["implementation"]: row for row in content["rows"]}, content


@pytest.mark.parametrize("work", ["training", "evaluation", "sampling"])
def test_ours_and_theirs_are_timed_with_what_theirs_fixes(work, made_up_code, tmp_path, capsys):
    call = [CALL[0], work, *CALL[2:]]
    assert main([*call, "--peer", str(made_up_code), "--repeats", "2", "--out", str(tmp_path)]) == 0
    rows, content = rows_of(tmp_path, f"{work}-glow-quick-digits")
    assert list(rows) == ["ours", "peer", "yardstick"]
    assert content["options"]["steps"] == 1  # quick has 6
    assert rows["peer"]["parameters"] == 65 and rows["peer"]["shape"] == "1×8×8"
    assert rows["ours"]["times_as_fast_as_peer"] < 1  # a single product
    assert rows["yardstick"]["yardsticks"] == 1
    assert "times as fast as the peer" in capsys.readouterr().out


@pytest.mark.long
def test_ours_compiled_stands_beside_ours_and_theirs(made_up_code, tmp_path, capsys):
    call = [*CALL, "--peer", str(made_up_code), "--compile", "--repeats", "2", "--out", str(tmp_path)]
    assert main(call) == 0
    rows, content = rows_of(tmp_path)
    assert list(rows) == ["ours", "ours compiled", "peer", "yardstick"] == list(content["profile"])
    assert rows["ours compiled"]["parameters"] == rows["ours"]["parameters"]
    assert rows["ours compiled"]["median_seconds"] < 60 * rows["ours"]["median_seconds"]  # not compiling
    assert "| compiled |" in (tmp_path / "README.md").read_text()
    assert capsys.readouterr().out.count("times as fast as the peer") == 2


def test_what_was_imported_from_a_code_is_forgotten(made_up_code):
    import sys

    config = systems.bench_config("glow", "quick", "digits", made_up_code)
    peers.load("glow", made_up_code, config.options, config.data.shape, CPU)
    assert "their_model" not in sys.modules and "util" not in sys.modules
    assert (made_up_code / "their_model.py").read_text() == "import util\nNET = util.LAYER(OLD, 1)\n"


@pytest.mark.parametrize("system", ["glow", "marscf-affine"])
def test_a_folder_that_is_no_known_code_is_refused(system, tmp_path):
    with pytest.raises(ConfigError, match="no code for"):
        peers.load(system, tmp_path, {}, (1, 8, 8), CPU)


def test_a_code_that_draws_for_hours_is_not_waited_for(tmp_path, capsys):
    folder = tmp_path / "pytorch_generative/models/autoregressive"
    folder.mkdir(parents=True)
    (folder / "gated_pixel_cnn.py").write_text("")
    call = ["bench", "sampling", "--system", "pixelcnn", "--scale", "quick", "--dataset", "digits"]
    assert main([*call, "--peer", str(tmp_path)]) == 2
    assert "draws a sample in hours" in capsys.readouterr().err


@pytest.mark.parametrize(
    "system", ["glow", "marscf-affine", "marscf-mixlogcdf", "flowpp", "residual-flow", "pixelcnn"]
)
def test_a_slowdown_of_a_fifth_is_seen_beside_the_record(system, tmp_path, monkeypatch):
    config = systems.bench_config(system, "quick", "digits", None)
    record, whole = tmp_path / "record.json", systems.prepare
    rows, facts = systems.bench_system("training", config, CPU, 32, 15)
    record.write_text(json.dumps({**facts, "rows": rows}))

    def slowed(work, model, x):
        prepared = whole(work, model, x)
        step = prepared.call

        def call():
            started = time.perf_counter()
            step()
            own = time.perf_counter() - started
            while time.perf_counter() - started < 1.2 * own:
                pass

        return systems.Work(call, model)

    monkeypatch.setattr(systems, "prepare", slowed)
    found = []
    for _ in range(3):  # machines are shared
        again, _ = systems.bench_system("training", config, CPU, 32, 15)
        found.append(systems.slower(again, record))
    assert any(words and "times as long" in words for words in found)


def test_the_same_step_is_not_slower(tmp_path):
    config = systems.bench_config("glow", "quick", "digits", None)
    record = tmp_path / "record.json"
    tries = []
    for _ in range(4):  # machines are shared: once of a few times is enough
        rows, facts = systems.bench_system("training", config, CPU, 32, 15)
        if record.is_file():
            tries.append(systems.slower(rows, record))
        record.write_text(json.dumps({**facts, "rows": rows}))
    assert None in tries


def test_a_record_of_other_work_is_refused(tmp_path, capsys):
    assert main([*CALL, "--repeats", "1", "--out", str(tmp_path)]) == 0
    record = tmp_path / "systems/training-glow-quick-digits.json"
    kept = Path(tmp_path / "kept.json")
    kept.write_text(record.read_text())
    other = [*CALL[:-1], "5", "--repeats", "1", "--out", str(tmp_path), "--against", str(kept)]
    assert main(other) == 2 and "batch_size is 4, not 5" in capsys.readouterr().err
    slow = json.loads(kept.read_text())
    for row in slow["rows"]:
        row["yardsticks"] /= 100
    kept.write_text(json.dumps(slow))
    assert main([*CALL, "--repeats", "1", "--out", str(tmp_path), "--against", str(kept)]) == 1
    assert "times as long" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["precision", "a", "b", "--system", "glow"], "not of precision"),
        (["growth", "--system", "glow", "--peer", "a"], "not of growth"),
        (["growth", "--system", "glow", "--against", "a"], "not of growth"),
        (["growth", "--compile"], "not of growth"),
        (["precision", "a", "b", "--compile"], "not of precision"),
        (["growth", "--authors-code", "a"], "not of growth"),
        (["training", "--system", "glow", "--authors-code", "a"], "without --system"),
        (["training", "--peer", "a"], "with --system"),
        (["training", "--against", "a"], "with --system"),
    ],
)
def test_what_would_be_ignored_is_refused(arguments, words, capsys):
    assert main(["bench", *arguments]) == 2 and words in capsys.readouterr().err


def test_ours_is_the_systems_own_model():
    config = systems.bench_config("glow", "laptop", "cifar10", None)
    assert isinstance(systems.system_model(config, CPU), MultiScaleFlow)
