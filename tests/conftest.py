"""Fixtures that several test modules share."""

import os
from pathlib import Path

import pytest

REPOSITORY = Path(__file__).resolve().parents[1]


@pytest.fixture(scope="session")
def mirror() -> Path:
    """Folder with the publishers' files, named by MARSCF_MIRROR; without it the test is skipped."""
    folder = os.environ.get("MARSCF_MIRROR")
    if not folder or not Path(folder).is_dir():
        pytest.skip("needs real data: set MARSCF_MIRROR to a folder with the publishers' files")
    return Path(folder)


@pytest.fixture
def workplace(tmp_path, monkeypatch) -> Path:
    """A working directory of its own with the repository's `config/`, as after a clone."""
    (tmp_path / "config").symlink_to(REPOSITORY / "config")
    monkeypatch.chdir(tmp_path)
    return tmp_path
