"""Several processes that share one batch, started by `torchrun`; one process is the same code.

    torchrun --nproc-per-node 2 -m marscf train RUN

Every process makes the same whole batch and takes its parts of it, so the batch, its order and its noise do
not depend on how many there are.
"""

import contextlib
import os
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import torch
import torch.distributed as dist
from torch import Tensor, nn

from marscf.devices import choose_device


def rank() -> int:
    """This process's number, 0 without torchrun."""
    return int(os.environ.get("RANK", "0"))


@dataclass(frozen=True)
class Processes:
    """The processes of this training; `rank` 0 alone writes."""

    rank: int
    count: int
    device: torch.device

    @property
    def first(self) -> bool:
        """Whether this is the process that writes."""
        return self.rank == 0

    def sum(self, value: Tensor) -> Tensor:
        """Return the sum of `value` over all processes."""
        if self.count > 1:
            dist.all_reduce(value)
        return value

    def any(self, flag: bool) -> bool:
        """Return whether `flag` is set in any process."""
        if self.count == 1:
            return flag
        return bool(self.sum(torch.tensor(float(flag), device=self.device)).item())

    def from_first(self, value: Any) -> Any:
        """Return the first process's `value` everywhere."""
        if self.count == 1:
            return value
        box = [value]
        dist.broadcast_object_list(box, src=0, device=self.device)
        return box[0]

    def share(self, parts: int) -> range:
        """Return which parts this process takes; `parts` is a multiple of the number of processes."""
        each = parts // self.count
        return range(self.rank * each, (self.rank + 1) * each)

    def parallel(self, module: nn.Module) -> nn.Module:
        """Wrap `module` so that gradients are averaged over the processes in the backward pass."""
        if self.count == 1:
            return module
        ids = [self.device.index] if self.device.type == "cuda" else None
        return nn.parallel.DistributedDataParallel(
            module, device_ids=ids, broadcast_buffers=False, gradient_as_bucket_view=True
        )


@contextlib.contextmanager
def joined(device: str) -> Iterator[Processes]:
    """Join the processes that torchrun started (or be the only one), and leave at the end."""
    count = int(os.environ.get("WORLD_SIZE", "1"))
    chosen = choose_device(device, int(os.environ.get("LOCAL_RANK", "0")))
    if count == 1:
        yield Processes(0, 1, chosen)
        return
    if chosen.type == "cuda":
        torch.cuda.set_device(chosen)
    dist.init_process_group("nccl" if chosen.type == "cuda" else "gloo")
    try:
        yield Processes(rank(), count, chosen)
    finally:
        dist.destroy_process_group()
