"""The reference's own runs, from the remote in the repository."""

import shutil
from pathlib import Path

import pytest

from marscf import cli

REPOSITORY = Path(__file__).parents[2]
FOLDER = Path("data/runs/quick/digits")
SYSTEMS = ("glow", "flowpp", "histogram")


@pytest.fixture(scope="session")
def shipped(tmp_path_factory) -> Path:
    """The reference's runs of some systems, as a clone pulls them, beside the prepared digits."""
    from dvc.api import DVCFileSystem

    root = tmp_path_factory.mktemp("shipped")
    remote = DVCFileSystem(str(REPOSITORY), remote="reference")
    folders = [*(FOLDER / system for system in SYSTEMS), Path("data/extractors/digits-net/digits")]
    for place in folders:
        (root / place.parent).mkdir(parents=True, exist_ok=True)
        remote.get(str(place), str(root / place), recursive=True)
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
