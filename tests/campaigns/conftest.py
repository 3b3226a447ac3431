"""What the campaigns share: helpers of other tests, and runs: the reference's, and tiny ones."""

import shutil
import sys
from pathlib import Path

import counts
import pytest

from marscf import cli

TESTS = Path(__file__).parents[1]
REPOSITORY = TESTS.parent
FOLDER = Path("data/runs/quick/digits")
SYSTEMS = ("glow", "flowpp", "histogram")  # of the reference
sys.path += [str(TESTS / name) for name in ("training", "workflow", "data", "compat")]

from measured_place import measured, whole  # noqa: E402, F401
from training_places import make_run, place, prepared, processes, uninterrupted  # noqa: E402, F401


def pytest_terminal_summary(terminalreporter):
    """Print what the campaigns have counted."""
    for line in counts.FOUND:
        terminalreporter.write_line(f"campaign: {line}")


def pytest_collection_modifyitems(items):
    """All campaigns are long."""
    for item in items:
        if Path(__file__).parent in item.path.parents:
            item.add_marker(pytest.mark.long)


@pytest.fixture(scope="session")
def shipped(tmp_path_factory) -> Path:
    """The reference's runs of some systems, as a clone pulls them, beside the prepared digits."""
    from dvc.api import DVCFileSystem

    root = tmp_path_factory.mktemp("shipped")
    remote = DVCFileSystem(str(REPOSITORY), remote="reference")
    folders = [*(FOLDER / system for system in SYSTEMS), Path("data/extractors/digits-net/digits")]
    for folder in folders:
        (root / folder.parent).mkdir(parents=True, exist_ok=True)
        remote.get(str(folder), str(root / folder), recursive=True)
    remote.get(str(FOLDER / "floor.json"), str(root / FOLDER / "floor.json"))
    for name in ("config", "reports/reference/quick"):
        shutil.copytree(REPOSITORY / name, root / name)
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(root)
        assert cli.main(["data", "digits"]) == 0
    return root


@pytest.fixture
def shipped_copy(shipped, tmp_path, monkeypatch) -> None:
    """A copy of it, as the working directory."""
    shutil.copytree(shipped, tmp_path, dirs_exist_ok=True)
    monkeypatch.chdir(tmp_path)
