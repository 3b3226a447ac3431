"""How a piece of work is measured: interleaved timing, counted FLOPs, bytes kept for the backward pass."""

import ctypes
import functools
import gc
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch.autograd import DeviceType
from torch.utils.flop_counter import FlopCounterMode, conv_flop_count

from marscf.kernels.conv import onednn_convolution
from marscf.kernels.precision import tf32
from marscf.studies.machine import synchronise


@dataclass(frozen=True)
class Times:
    """Seconds of the repeats of one piece of work."""

    seconds: tuple[float, ...]

    @property
    def median(self) -> float:
        """Median, in seconds."""
        return float(np.median(self.seconds))


def interleaved(
    works: Sequence[Callable[[], object]], repeats: int, device: torch.device, warmup: int = 1
) -> list[Times]:
    """Time pieces of work in turn, A B A B …, so that a machine whose speed drifts is fair to each.

    Each is called `warmup` times untimed, then `repeats` times; a GPU is synchronised around every call.
    """
    for _ in range(warmup):
        for work in works:
            work()
    seconds: list[list[float]] = [[] for _ in works]
    for _ in range(repeats):
        for work, own in zip(works, seconds, strict=True):
            synchronise(device)
            start = time.perf_counter()
            work()
            synchronise(device)
            own.append(time.perf_counter() - start)
    return [Times(tuple(own)) for own in seconds]


def ratio(slow: Times, fast: Times) -> tuple[float, float, float]:
    """Return the median, least and greatest of slow/fast, pair by pair."""
    pairs = np.array(slow.seconds) / np.array(fast.seconds)
    return float(np.median(pairs)), float(pairs.min()), float(pairs.max())


def counted_flops(work: Callable[[], object]) -> int:
    """Count the floating-point operations of matrix products and convolutions in one call."""
    uncounted = onednn_convolution()
    own = {uncounted: _onednn_flops} if uncounted else {}
    with FlopCounterMode(display=False, custom_mapping=own) as counter:
        work()
    return counter.get_total_flops()


def _onednn_flops(x: torch.Size, kernel: torch.Size, *_: Any, out_shape: torch.Size, **__: Any) -> int:
    return conv_flop_count(list(x), list(kernel), list(out_shape))


#: Kinds of work, by what is in the names of a CPU's operators and of a GPU's kernels, the first that fits;
#: what fits none is `other`.
KINDS = {
    "convolutions": ("conv", "fprop", "dgrad", "wgrad", "cudnn"),
    "matrix products": ("::mm", "::bmm", "::addmm", "::baddbmm", "gemm", "cutlass", "nvjet"),
    "copies": ("::copy_", "::cat", "::clone", "::fill_", "::zero_", "::stack", "copy", "fillfunctor", "mem"),
}


def profiled(work: Callable[[], object], device: torch.device) -> tuple[dict[str, float], int]:
    """Return the share of one call's time on the device by kind of operator, and its launches on a GPU."""
    on_gpu = device.type == "cuda"
    profiler: Any = torch.autograd.profiler.profile
    if on_gpu:
        activities = list(torch.profiler.supported_activities())
        profiler = functools.partial(torch.profiler.profile, activities=activities)
    with profiler() as profile:
        work()
        synchronise(device)
    times: dict[str, float] = dict.fromkeys([*KINDS, "other"], 0.0)
    entries = profile.key_averages()
    for entry in entries:
        if on_gpu and (entry.device_type != DeviceType.CUDA or entry.is_user_annotation):
            continue  # kernels have entries of their own
        name = entry.key.lower()
        kind = next((k for k, names in KINDS.items() if any(n in name for n in names)), "other")
        times[kind] += entry.self_device_time_total if on_gpu else entry.self_cpu_time_total
    total = sum(times.values()) or 1.0
    launches = sum(
        entry.count for entry in entries if entry.key.startswith(("cudaLaunch", "cudaGraphLaunch"))
    )
    return {kind: round(time / total, 3) for kind, time in times.items()}, launches


def kept_bytes(forward: Callable[[], Tensor], parameters: Sequence[Tensor]) -> int:
    """Count the bytes of distinct storages that a forward pass keeps for its backward pass.

    Parameters' own storages are not counted.
    """
    own = {parameter.untyped_storage().data_ptr() for parameter in parameters}
    storages: dict[int, int] = {}

    def pack(tensor: Tensor) -> Tensor:
        storage = tensor.untyped_storage()
        if storage.data_ptr() not in own:
            storages[storage.data_ptr()] = storage.nbytes()
        return tensor.detach()  # a node that kept its own result would never be freed

    with torch.autograd.graph.saved_tensors_hooks(pack, lambda tensor: tensor):
        result = forward()
    del result
    return sum(storages.values())


def peak_bytes(work: Callable[[], object], device: torch.device) -> int | None:
    """Bytes that one call takes at its height beyond what there was before it; None where that is not told.

    Of a GPU torch's own count; of a CPU the process's resident memory (Linux).
    """
    if device.type == "cuda":
        torch.cuda.reset_peak_memory_stats(device)
        before = torch.cuda.memory_allocated(device)
        work()
        return torch.cuda.max_memory_allocated(device) - before
    _give_back_freed_memory()  # else the call takes what others left, which no count shows
    try:
        Path("/proc/self/clear_refs").write_text("5", encoding="utf-8")  # the peak starts anew from here
        before = _resident("VmRSS")
        work()
        return _resident("VmHWM") - before
    except OSError:
        return None


def _give_back_freed_memory() -> None:
    """Have the C library return to the system what is free, where it is one that can (glibc)."""
    trim = getattr(ctypes.CDLL(None), "malloc_trim", None)
    if trim:
        gc.collect()
        trim(0)


def _resident(name: str) -> int:
    lines = Path("/proc/self/status").read_text(encoding="utf-8").splitlines()
    return 1024 * next(int(line.split()[1]) for line in lines if line.startswith(name))


def matmul_rate(device: torch.device, dtype: torch.dtype = torch.float32, size: int | None = None) -> float:
    """Measure this machine's own rate of square matrix products, in FLOP/s (best of several)."""
    size = size or (8192 if device.type == "cuda" else 1536)
    a, b = (torch.randn(size, size, device=device).to(dtype) for _ in range(2))
    with tf32(torch.backends.cudnn.allow_tf32):  # as the convolutions
        (times,) = interleaved([lambda: a @ b], repeats=7, device=device, warmup=2)
    return 2 * size**3 / min(times.seconds)
