"""The machine that a time was measured on."""

import os

import torch

from marscf import devices


def describe(device: torch.device) -> str:
    """Return the device in words: a GPU's name, or the CPU's with the threads that torch uses."""
    threads = torch.get_num_threads()
    return devices.gpu(device) or f"{devices.processor()}, {threads} thread{'s' if threads > 1 else ''}"


def machine(device: torch.device) -> dict[str, object]:
    """Return what a time depends on, apart from the model: device, CPU, cores, threads, torch."""
    return {
        **devices.machine(),
        "device": describe(device),
        "cores": os.cpu_count(),
        "tf32": device.type == "cuda" and torch.backends.cudnn.allow_tf32,
    }


def synchronise(device: torch.device) -> None:
    """Wait until the device has done all that it was asked."""
    if device.type == "cuda":
        torch.cuda.synchronize(device)
