"""Variables of the environment, and text whatever the locale."""

import ast
import os
import subprocess
import sys
from pathlib import Path

import pytest

from marscf.environment import given, switch

PACKAGE = Path(__file__).resolve().parents[1] / "marscf"
RUN = "data/runs/quick/digits/glow/seed0"


@pytest.mark.parametrize("value", ["", " ", "0", "false", "False", "no", "NO", "off"])
def test_off(monkeypatch, value):
    monkeypatch.setenv("MARSCF_X", value)
    assert not switch("MARSCF_X")


@pytest.mark.parametrize("value", ["1", "true", "yes", "on", "2"])
def test_on(monkeypatch, value):
    monkeypatch.setenv("MARSCF_X", value)
    assert switch("MARSCF_X")


def test_none(monkeypatch):
    monkeypatch.delenv("MARSCF_X", raising=False)
    assert not switch("MARSCF_X") and given("MARSCF_X") is None
    monkeypatch.setenv("MARSCF_X", "")
    assert given("MARSCF_X") is None


def calls(*names):
    """All calls of these functions or methods in the package, with the place of each."""
    for path in PACKAGE.rglob("*.py"):
        for node in ast.walk(ast.parse(path.read_bytes())):
            if isinstance(node, ast.Call):
                name = getattr(node.func, "attr", getattr(node.func, "id", ""))
                if name in names:
                    yield f"{path}:{node.lineno}", node


def test_variables_of_the_project_are_read_in_one_place():
    texts = {path: path.read_text(encoding="utf-8") for path in PACKAGE.rglob("*.py")}
    allowed = {"environment.py", "distributed.py"}  # the latter reads those of torchrun
    assert [path for path, text in texts.items() if "os.environ" in text and path.name not in allowed] == []


def test_text_is_utf_8_whatever_the_locale():
    """Each file that is opened as text names its encoding."""
    missing = []
    for place, node in calls("open", "read_text", "write_text"):
        modes = [a.value for a in node.args if isinstance(a, ast.Constant) and isinstance(a.value, str)]
        modes += [k.value.value for k in node.keywords if k.arg == "mode"]
        owner = getattr(getattr(node.func, "value", None), "id", "")
        other = owner in ("os", "gzip", "Image", "fsspec", "archive")
        binary = any("b" in mode for mode in modes if set(mode) <= set("rwabx+t"))
        if not other and not binary and "encoding" not in {keyword.arg for keyword in node.keywords}:
            missing.append(place)
    assert missing == []


@pytest.mark.parametrize(
    "locale",
    [
        {"LC_ALL": "C", "PYTHONUTF8": "0", "PYTHONCOERCECLOCALE": "0"},
        {"LC_ALL": "C", "PYTHONIOENCODING": "latin-1"},
    ],
)
def test_the_command_works_in_a_locale_without_unicode(workplace, locale):
    environment = {**os.environ, "PYTHONPATH": str(PACKAGE.parent), **locale}
    call = [sys.executable, "-m", "marscf", "config", RUN]
    done = subprocess.run(call, env=environment, capture_output=True, encoding="utf-8")
    assert done.returncode == 0 and "options.levels" in done.stdout
    done = subprocess.run([*call[:-1], "é"], env=environment, capture_output=True)
    assert done.returncode == 2 and b"is no run" in done.stderr and b"Traceback" not in done.stderr
