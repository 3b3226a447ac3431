"""Hostile bytes: only the project's own error comes out of a parser, and memory stays bounded.

250 mutated inputs a case: of the bytes on disk, of what is inside the compression, and of what lies behind a
checksum. tests/campaigns tries 100,000.
"""

import random
import resource

import numpy as np
import pytest
from damaged_files import CASES, mutated, npy_seed, parse
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from marscf.data.untrusted import unpack
from marscf.errors import DataError

INPUTS = 50  # mutated files an example of hypothesis
MEMORY = 300 << 20  # bytes that parsers may add to the process, whatever the input claims


def fuzz(name, folder, examples):
    """Try `examples` × INPUTS mutated files; hypothesis draws, shrinks and reports the mutations' seeds."""
    seed = CASES[name][4] or npy_seed(folder)
    assert parse(name, seed, folder)  # the seed itself is whole
    tried = refused = 0

    @settings(
        max_examples=examples,
        deadline=None,
        database=None,
        derandomize=True,
        suppress_health_check=list(HealthCheck),
    )
    @given(st.integers(0, 2**63 - 1))
    def attempt(number):
        nonlocal tried, refused
        chance = random.Random(number)
        for _ in range(INPUTS):
            tried += 1
            refused += not parse(name, mutated(seed, chance), folder)

    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    attempt()
    grown = (resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before) * 1024
    assert tried >= examples * INPUTS and refused > tried // 3 and grown < MEMORY


@pytest.mark.parametrize("name", CASES)
def test_mutated_files_are_decoded_or_refused(tmp_path, name):
    fuzz(name, tmp_path, 5)


@pytest.mark.long
def test_random_bytes_are_no_image(tmp_path):
    generator = np.random.default_rng(0)
    for _ in range(5000):
        content = generator.bytes(int(generator.integers(0, 200)))
        with pytest.raises(DataError):
            unpack.read_png(unpack.PNG_SIGNATURE * bool(generator.integers(2)) + content, "x", 3)
