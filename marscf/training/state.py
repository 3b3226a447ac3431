"""All that a training is between two steps, and what is saved; random numbers depend on the step alone."""

import copy
import math
from dataclasses import asdict, dataclass, field
from typing import Any

import torch
from torch import Tensor

from marscf.models.base import DensityModel
from marscf.settings import TrainingSettings
from marscf.training.optimizers import OPTIMIZERS


@dataclass
class Record:
    """The plain numbers of a training."""

    step: int = 0  # steps done, skipped ones included
    validated: int = 0  # the step of the last validation
    best_bits_per_dim: float | None = None
    best_step: int | None = None
    skipped: int = 0  # steps with a non-finite loss or gradient
    skipped_in_a_row: int = 0
    rollbacks: int = 0
    learning_rate_factor: float = 1.0
    log_lines: int = 0
    seconds: float = 0.0  # all time in the loop, over all calls
    cpu_seconds: float = 0.0  # processor time in the loop, of the first process: a busy machine adds none
    timed_seconds: float = 0.0  # of training steps alone, without each process's first ones
    timed_images: int = 0
    peak_memory_bytes: int = 0
    events: list[dict[str, Any]] = field(default_factory=list)

    def take_story(self, later: "Record") -> None:
        """After a rollback: keep what `later` tells of the run, and halve its learning rate."""
        times = ("seconds", "cpu_seconds", "timed_seconds", "timed_images")
        for name in ("skipped", "events", "log_lines", *times):
            setattr(self, name, getattr(later, name))
        self.peak_memory_bytes = max(self.peak_memory_bytes, later.peak_memory_bytes)
        self.rollbacks = later.rollbacks + 1
        self.learning_rate_factor = later.learning_rate_factor / 2


class State:
    """Model, averaged model, optimiser, best averaged weights and the record."""

    def __init__(self, model: DensityModel, training: TrainingSettings):
        self.model = model
        self.averaged = copy.deepcopy(model).requires_grad_(False)
        self.optimizer = OPTIMIZERS[training.optimizer](
            model.parameters(), training.betas, weight_decay=training.weight_decay
        )
        # Listed once: walking through a flow's modules takes milliseconds, for which a GPU would wait.
        self._means: list[Tensor] = list(self.averaged.parameters())
        self._buffers = list(zip(self.averaged.buffers(), model.buffers(), strict=True))
        self.best: dict[str, Tensor] | None = None
        self.record = Record()

    @torch.no_grad()
    def update(self, learning_rate: float, decay: float) -> None:
        """Take one optimiser step, and move the averaged weights towards the model's by `1 - decay`."""
        self.optimizer.step(learning_rate)
        torch._foreach_lerp_(self._means, self.optimizer.parameters, 1 - decay)
        torch.autograd.graph.increment_version(self._means)  # what is cached from them is computed again
        for mean, value in self._buffers:
            mean.copy_(value)

    def validated(self, bits_per_dim: float) -> None:
        """Note a validation; keep the averaged weights where they are the best so far."""
        record = self.record
        record.validated = record.step
        best = math.inf if record.best_bits_per_dim is None else record.best_bits_per_dim
        if bits_per_dim < best:  # never so for NaN
            record.best_bits_per_dim, record.best_step = bits_per_dim, record.step
            self.best = {name: t.detach().clone() for name, t in self.averaged.state_dict().items()}

    def to_dict(self) -> dict[str, Any]:
        """What is saved."""
        return {
            "model": self.model.state_dict(),
            "averaged": self.averaged.state_dict(),
            "optimizer": self.optimizer.state_dict(),
            "best": self.best,
            "record": asdict(self.record),
        }

    def load_dict(self, saved: dict[str, Any]) -> None:
        """Take over what `to_dict` gave."""
        self.model.load_state_dict(saved["model"])
        self.averaged.load_state_dict(saved["averaged"])
        self.optimizer.load_state_dict(self._in_order(saved["optimizer"], saved["model"]))
        self.best = saved["best"]
        vars(self.record).update(saved["record"])

    def _in_order(self, optimizer: dict[str, Any], weights: dict[str, Tensor]) -> dict[str, Any]:
        """Return an optimiser's saved lists in today's order of the parameters."""
        own = dict(self.model.named_parameters())
        then = [name for name in self.model.current_names(weights) if name in own]
        lists = {name: dict(zip(then, optimizer[name], strict=True)) for name in ("mean", "largest")}
        return {**optimizer, **{name: [values[p] for p in own] for name, values in lists.items()}}
