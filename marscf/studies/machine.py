"""The machine that a time was measured on."""

import os
import platform

import torch

from marscf.devices import processor


def describe(device: torch.device) -> str:
    """Return the device in words: a GPU's name, or the CPU's with the threads that torch uses."""
    if device.type == "cuda":
        return torch.cuda.get_device_name(device)
    threads = torch.get_num_threads()
    return f"{processor()}, {threads} thread{'s' if threads > 1 else ''}"


def machine(device: torch.device) -> dict[str, object]:
    """Return what a time depends on beside the model: device, CPU, cores, threads, torch."""
    return {
        "device": describe(device),
        "cpu": processor(),
        "cores": os.cpu_count(),
        "threads": torch.get_num_threads(),
        "torch": torch.__version__,
        "tf32": device.type == "cuda" and torch.backends.cudnn.allow_tf32,
        "system": f"{platform.system()} {platform.machine()}",
    }


def synchronise(device: torch.device) -> None:
    """Wait until the device has done all that it was asked."""
    if device.type == "cuda":
        torch.cuda.synchronize(device)
