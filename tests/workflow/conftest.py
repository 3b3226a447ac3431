"""A checkout whose scale `quick` is made tiny, in which the real workflow runs once for all tests here."""

import re
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
from tiny_checkout import Checkout, copy_repository


@pytest.fixture(scope="session")
def checkout(tmp_path_factory: pytest.TempPathFactory) -> Checkout:
    """A tiny checkout in which nothing has run yet."""
    return copy_repository(tmp_path_factory.mktemp("checkout"))


@pytest.fixture(scope="session")
def new_checkout() -> Callable[[Path], Checkout]:
    """Make a further tiny checkout in a folder."""
    return copy_repository


@pytest.fixture
def fresh_checkout(tmp_path: Path) -> Checkout:
    """A tiny checkout for one test alone."""
    return copy_repository(tmp_path / "checkout")


@pytest.fixture(scope="session")
def reproduced(checkout: Checkout) -> Checkout:
    """The same after `make reproduce` with the environment of these tests."""
    bin_folder = Path(sys.executable).parent
    if re.search(r"[^\w./-]", str(bin_folder)):
        pytest.skip(f"make cannot take {bin_folder} as VENV")
    (checkout.root / ".venv").symlink_to(bin_folder.parent)
    # `--old-file`: the environment is there, make is not to install into it
    checkout.call("make", "reproduce", "--old-file=.venv/.ready")
    return checkout
