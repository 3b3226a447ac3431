"""`marscf new`: a flow of one's own that runs."""

import re
import subprocess
import sys
from pathlib import Path

import pytest

from marscf.cli import main

TEMPLATES = Path(__file__).parents[1] / "marscf" / "templates"


@pytest.fixture
def checkout(tmp_path, monkeypatch):
    """An empty repository."""
    (tmp_path / "config" / "systems").mkdir(parents=True)
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr("sys.path", list(sys.path))
    return tmp_path


def test_the_template_passes_its_own_test(checkout, capsys):
    assert main(["new", "two-words"]) == 0
    written = ["two_words.py", "config/systems/two-words.yaml", "tests/models/test_two_words.py"]
    assert capsys.readouterr().out.splitlines()[:3] == written
    assert "class TwoWords(FlowModel)" in (checkout / "two_words.py").read_text()
    assert "model: two_words.TwoWords" in (checkout / written[1]).read_text()
    assert not [name for name in written if re.search("my.flow", (checkout / name).read_text(), re.I)]
    command = [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", written[2]]
    result = subprocess.run(command, capture_output=True, text=True)
    assert re.search(r"[5-9] passed", result.stdout), result.stdout


def test_what_is_there_is_never_written_over(checkout, capsys):
    (checkout / "tests" / "models").mkdir(parents=True)
    own = checkout / "tests" / "models" / "test_my_flow.py"
    own.write_text("mine")
    assert main(["new", "my-flow"]) == 2
    assert "tests/models/test_my_flow.py is there already" in capsys.readouterr().err
    assert own.read_text() == "mine" and not (checkout / "my_flow.py").exists()


@pytest.mark.parametrize("name", ["My Flow", "../flow", "my_flow", "-x", "class", "torch", "glow-pytorch.x"])
def test_a_name_that_cannot_be_one_is_refused(checkout, capsys, name):
    assert main(["new", "--", name]) == 2
    assert capsys.readouterr().err.startswith("marscf new: ")
    assert not list(checkout.glob("*.py")) and not list((checkout / "config" / "systems").iterdir())


def test_a_model_of_the_package_keeps_its_name(checkout, capsys):
    assert main(["new", "pixelcnn"]) == 2 and "choose another name" in capsys.readouterr().err


def test_elsewhere_than_in_the_repository_it_says_so(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    assert main(["new", "my-flow"]) == 2 and "repository's root" in capsys.readouterr().err
