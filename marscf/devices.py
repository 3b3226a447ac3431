"""Which device a stage runs on: the `--device` option."""

import platform
from pathlib import Path
from typing import TYPE_CHECKING, Any

from marscf.errors import ConfigError

if TYPE_CHECKING:
    import torch

HELP = "auto (a GPU where there is one), cpu, cuda or cuda:N (default: %(default)s)"


def choose_device(name: str = "auto", local_rank: int = 0) -> "torch.device":
    """Return the device called `name`; `auto` and `cuda` take the GPU number `local_rank`.

    Every stage of training and measuring begins here. From here on the process, and the threads it starts,
    take denormal numbers (below 1.2e-38) as 0: each costs a CPU a hundred times as much as another number,
    and the gradients of a trained PixelCNN are full of them.

    Raises `ConfigError` for an unknown name and for a GPU that isn't there.
    """
    import torch

    torch.set_flush_denormal(True)
    gpus = torch.cuda.device_count() if torch.cuda.is_available() else 0
    if name == "auto":
        name = "cuda" if gpus else "cpu"
    kind, _, index = name.partition(":")
    if kind not in ("cpu", "cuda") or (index and not (kind == "cuda" and index.isdecimal())):
        raise ConfigError(f"unknown device {name!r} (known: auto, cpu, cuda, cuda:N)")
    if kind == "cpu":
        return torch.device("cpu")
    number = int(index) if index else local_rank
    if number >= gpus:
        raise ConfigError(f"no device {name!r}: torch sees {gpus} CUDA GPUs; use --device cpu or auto")
    return torch.device("cuda", number)


def computes_in_bfloat16(device: "torch.device") -> bool:
    """Whether bfloat16 is native to the device; a CPU that only emulates it is many times slower in it."""
    import torch

    if device.type == "cpu":
        return torch.ops.mkldnn._is_mkldnn_bf16_supported()
    return device.type != "cuda" or torch.cuda.is_bf16_supported(including_emulation=False)


def processor() -> str:
    """Return the CPU's name."""
    try:
        lines = Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines()
        return next(line.partition(":")[2].strip() for line in lines if line.startswith("model name"))
    except (OSError, StopIteration):
        return platform.processor() or platform.machine() or "CPU"


def machine() -> dict[str, Any]:
    """Return what speeds and roundings depend on; nothing that names the machine."""
    import torch

    return {
        "cpu": processor(),
        "threads": torch.get_num_threads(),
        "torch": torch.__version__,
        "system": f"{platform.system()} {platform.machine()}",
    }


def gpu(device: "torch.device") -> str | None:
    """Return a GPU's name, None for a CPU."""
    import torch

    return torch.cuda.get_device_name(device) if device.type == "cuda" else None
