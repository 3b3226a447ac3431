"""The command: its table of stages, its exit codes, one line for what a user can correct."""

import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace

import pytest

from marscf import __version__, cli
from marscf.errors import EXIT_INTERRUPTED, Interrupted, MarscfError


@pytest.fixture
def stage(monkeypatch):
    """Put a stage called `data` in the place of the real one; returns what it was called with."""
    calls = []

    def install(error=None, result=None):
        def run(args):
            calls.append(args)
            if error is not None:
                raise error
            return result

        fake = SimpleNamespace(configure=lambda parser: parser.add_argument("--number", type=int), run=run)
        monkeypatch.setattr(cli.importlib, "import_module", lambda name: fake)
        return calls

    return install


def test_runs_the_stage_that_is_called(stage):
    calls = stage()
    assert cli.main(["data", "--number", "3"]) == 0
    assert calls[0].number == 3


@pytest.mark.parametrize(
    ("error", "code"),
    [(MarscfError("no such thing"), 2), (Interrupted("saved"), EXIT_INTERRUPTED), (KeyboardInterrupt(), 75)],
)
def test_errors_are_one_line(stage, capsys, error, code):
    stage(error)
    assert cli.main(["data"]) == code
    lines = capsys.readouterr().err.splitlines()
    assert len(lines) == 1
    assert lines[0] == f"marscf data: {str(error) or 'interrupted'}"


def test_debug_shows_the_traceback(stage):
    stage(MarscfError("no such thing"))
    with pytest.raises(MarscfError):
        cli.main(["data", "--debug"])


def test_a_fault_of_ours_is_not_hidden(stage):
    stage(ZeroDivisionError())
    with pytest.raises(ZeroDivisionError):
        cli.main(["data"])


def test_a_stage_may_give_its_own_code(stage):
    stage(result=1)
    assert cli.main(["data"]) == 1


def test_unknown_stage(capsys):
    assert cli.main(["trian"]) == 2
    assert "unknown stage 'trian'; did you mean 'train'?" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("words", "line"),
    [
        ([], "marscf: the following arguments are required: STAGE; see marscf --help"),
        (["data", "--numbr", "3"], "marscf: unrecognized arguments: --numbr 3; see marscf --help"),
        (
            ["data", "--number", "x"],
            "marscf data: argument --number: invalid int value: 'x'; see marscf data",
        ),
    ],
)
def test_arguments_that_do_not_fit_are_one_line(stage, capsys, words, line):
    stage()
    with pytest.raises(SystemExit) as end:
        cli.main(words)
    assert end.value.code == 2
    told = capsys.readouterr().err.splitlines()
    assert len(told) == 1 and told[0].startswith(line)


def test_version_and_help_import_nothing_heavy():
    code = (
        "import sys; from marscf.cli import main\n"
        "try: main(['--help'])\n"
        "except SystemExit: sys.exit(any(m in sys.modules for m in ('torch', 'numpy', 'pydantic')))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert done.returncode == 0
    assert all(name in done.stdout for name in cli.COMMANDS)
    with pytest.raises(SystemExit) as end:
        cli.main(["--version"])
    assert end.value.code == 0
    assert __version__


@pytest.mark.parametrize("name", sorted(cli.COMMANDS))
def test_every_stage_is_there_and_explains_itself(name, capsys, monkeypatch):
    monkeypatch.chdir(Path(__file__).parents[1])
    with pytest.raises(SystemExit) as end:
        cli.main([name, "--help"])
    assert end.value.code == 0
    assert "--debug" in capsys.readouterr().out


@pytest.mark.parametrize("name", cli.COMMANDS)
def test_help_of_every_stage_has_an_example(name, capsys, monkeypatch):
    monkeypatch.setenv("COLUMNS", "200")
    with pytest.raises(SystemExit) as left:
        cli.main([name, "--help"])
    assert left.value.code == 0
    text = capsys.readouterr().out
    assert f"  marscf {name} " in text or f"example: marscf {name} " in text
