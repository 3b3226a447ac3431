"""What choosing a device does to a process."""

import subprocess
import sys

import pytest
import torch

from marscf.devices import choose_device

TINY = 1e-39  # a denormal number in float32

IN_EACH_THREAD = """
import torch
torch.set_num_threads(2)
from marscf.devices import choose_device
choose_device("cpu")
numbers = torch.empty(1_000_000).fill_(1e-30) * 1e-9  # by both threads
print(int(numbers.count_nonzero()))
"""


@pytest.fixture(autouse=True)
def as_before():
    yield
    torch.set_flush_denormal(False)


@pytest.mark.skipif(not torch.set_flush_denormal(False), reason="this CPU cannot flush denormal numbers")
def test_denormal_numbers_are_0_from_there_on_in_each_thread():
    torch.set_flush_denormal(False)
    assert (torch.tensor([TINY]) * 1.0).item() > 0
    choose_device("cpu")
    assert (torch.tensor([TINY]) * 1.0).item() == 0
    assert (torch.tensor([1.2e-38]) * 1.0).item() > 0  # the smallest normal number is 1.18e-38
    done = subprocess.run([sys.executable, "-c", IN_EACH_THREAD], capture_output=True, text=True, check=True)
    assert done.stdout.split() == ["0"]
