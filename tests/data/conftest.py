"""The small source files that tests of this folder share."""

import pytest
from tiny_sources import TinyMnist


@pytest.fixture
def tiny(tmp_path):
    return TinyMnist(tmp_path)
