"""What the campaigns share with other tests, and finished runs of a tiny scale `quick`."""

import sys
from pathlib import Path

import counts
import pytest

TESTS = Path(__file__).parents[1]
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
