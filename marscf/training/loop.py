"""The training of one run, from top to bottom.

A step is a pure function of the state before it and its number: batch, augmentation, dequantisation noise
and dropout are seeded by (seed, step). So a saved state needs no generator, and N steps, a kill and N steps
more are 2N steps, bit for bit, on the same machine and number of threads.
"""

import contextlib
import copy
import math
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from marscf import models
from marscf.data.arrays import open_split, open_training
from marscf.data.batches import Batches
from marscf.devices import computes_in_bfloat16
from marscf.errors import ConfigError, Interrupted, MarscfError
from marscf.files import seed_from
from marscf.models.base import DensityModel
from marscf.runs import RECEIPT
from marscf.settings import RunConfig, TrainingSettings
from marscf.training.checkpoints import Checkpoints
from marscf.training.clock import Clock
from marscf.training.distributed import Processes
from marscf.training.gradients import Gradients
from marscf.training.interrupt import Stop
from marscf.training.log import Log, Silence, say
from marscf.training.receipt import peak_memory
from marscf.training.schedule import average_decay, learning_rate
from marscf.training.state import State
from marscf.training.validation import Validation

Batch = tuple[Tensor, Tensor | None]  # images and noise

LOG_LINES = 500  # about so many records of training steps in a run


def largest_norm(training: TrainingSettings, dims: int) -> float:
    """Return the largest norm of the gradient of the loss that is minimised here, nats per sub-pixel."""
    units = {"nats/dim": 1.0, "bits/dim": math.log(2), "nats/image": 1 / dims}
    return (training.gradient_clip or math.inf) * units[training.gradient_clip_unit]


@dataclass(frozen=True)
class Step:
    """What one training step gave."""

    nats: float  # mean loss per sub-pixel
    norm: float  # of its gradient, before clipping
    learning_rate: float

    @property
    def finite(self) -> bool:
        """Whether loss and gradient are; if not, the step changed no weight."""
        return math.isfinite(self.nats) and math.isfinite(self.norm)


class Training:
    """One run's training on one of its processes."""

    def __init__(self, folder: Path, config: RunConfig, data_digest: str, processes: Processes):
        self.folder, self.config, self.processes = folder, config, processes
        self.settings = settings = config.training
        if settings.batch_size < processes.count * settings.accumulate:
            raise ConfigError(
                f"training.batch_size: {settings.batch_size} images are fewer than "
                f"{processes.count} processes × {settings.accumulate} accumulated parts"
            )
        self.batches = Batches(
            open_training(config.dataset, everything=not settings.validates),
            settings.batch_size,
            config.seed_value,
            processes.device,
            config.data.augment,
        )
        self.validate = None
        if settings.validates:
            self.validate = Validation(open_split(config.dataset, "val"), config, processes)
        self.largest_norm = largest_norm(settings, config.data.dims)
        self.checkpoints = Checkpoints(folder, config, data_digest)
        self.say = say if processes.first else lambda line: None
        if settings.precision == "bfloat16" and not computes_in_bfloat16(processes.device):
            self.say(f"{processes.device} only emulates bfloat16: with precision float32 it is far faster")
        if processes.first:
            self.checkpoints.clean()
            (folder / RECEIPT).unlink(missing_ok=True)  # it belongs to other weights, data or config

    def run(self, stop: Stop) -> State:
        """Train from the newest good state, or from the start; raises `Interrupted` when stopped."""
        self.state = self.fresh_state()
        self.resume()
        self.gradients = Gradients(self.state.model, self.config, self.processes)
        self.saved_at = self.state.record.step
        self.ahead: Batch | None = None  # the next step's
        with contextlib.closing(self.open_log()) as self.log:
            stop.begin()
            self.clock = Clock(self.state.record)
            while not self.between_steps(stop):
                self.record(self.step())
        return self.state

    def between_steps(self, stop: Stop) -> bool:
        """Validate, save and stop where it is time to; return whether the training is done."""
        record, settings = self.state.record, self.settings
        done = record.step == settings.steps
        stopping = self.processes.any(stop.requested())
        if not stopping and (done or record.step % settings.validate_every == 0):
            stopping = not self.run_validation(stop)
        self.clock.settle()
        due = record.step % settings.checkpoint_every == 0 and not record.skipped_in_a_row
        if record.step != self.saved_at and (stopping or done or due):
            self.save()
        if stopping:
            raise Interrupted(
                f"{self.folder}: stopped by {stop.reason or 'another process'} at step {record.step} of "
                f"{settings.steps}, saved; call again to go on"
            )
        return done

    def step(self) -> Step:
        """Take one optimiser step; where its loss or gradient is not finite, no weight is changed."""
        state, number = self.state, self.state.record.step
        self.clock.begin_step()
        x, noise = self.ahead or self.draw(state.model, number)
        loss = self.gradients(number, x, noise)
        gradient_norm = torch.nn.utils.clip_grad_norm_(state.optimizer.parameters, self.largest_norm)
        self.ahead = self.draw(state.model, number + 1)  # before waiting for what a GPU has in hand
        rate = learning_rate(number, self.settings) * state.record.learning_rate_factor
        nats, norm = torch.stack([loss, gradient_norm.to(loss.dtype)]).tolist()
        step = Step(nats, norm, rate)
        state.record.step += 1
        if step.finite:
            state.update(rate, average_decay(number, self.settings))
            state.record.skipped_in_a_row = 0
        else:
            self.skip(step)
        state.optimizer.zero_grad()
        return step

    def record(self, step: Step) -> None:
        """Note what a step gave; after too many in a row that were not finite, roll back."""
        record, settings = self.state.record, self.settings
        if record.skipped_in_a_row == settings.max_skips:
            self.roll_back()
            return
        self.clock.end_step(settings.batch_size)
        bits_per_dim = step.nats / math.log(2)
        self.log.advance(bits_per_dim)
        if step.finite and record.step % max(1, settings.steps // LOG_LINES) == 0:
            self.write(
                train_bits_per_dim=bits_per_dim,
                learning_rate=step.learning_rate,
                gradient_norm=step.norm,
                seconds=round(self.clock.seconds, 3),
            )

    # ---- the beginning

    def fresh_state(self) -> State:
        """Build the model with seeded weights and set what depends on data (ActNorm) from the first batch."""
        torch.manual_seed(seed_from(self.config.seed_value, "weights"))
        model = models.build(self.config).to(self.processes.device).train()
        model.activation_checkpointing = self.settings.activation_checkpointing
        if model.activation_checkpointing and not model.can_recompute:
            raise ConfigError(
                f"training.activation_checkpointing: {self.config.model} cannot; set it to false in "
                f"config/systems/{self.config.system}.yaml"
            )
        model.initialise(*self.draw(model, 0))
        return State(model, self.settings)

    def resume(self) -> None:
        """Take over the newest good state, where there is one."""
        saved = self.processes.from_first(self.checkpoints.newest() if self.processes.first else None)
        refused = self.checkpoints.refused
        if saved is not None:
            self.state.load_dict(saved)
            for line in refused:
                self.say(f"refused: {line}")
            self.say(f"{self.folder} goes on at step {self.state.record.step} of {self.settings.steps}")
        elif refused:
            more = f" (and {len(refused) - 1} more refused)" if len(refused) > 1 else ""
            kept = self.checkpoints.aside
            until = f"; what it was stays in {kept} until the new training is done" if kept.is_dir() else ""
            self.say(f"{self.folder} starts anew: {refused[0]}{more}{until}")

    def open_log(self) -> Log:
        """Open the log where the state left it."""
        if not self.processes.first:
            return Silence()
        name, record = f"{self.config.system} on {self.config.dataset}", self.state.record
        return Log(
            self.folder, name, self.settings.steps, self.settings.batch_size, record.step, record.log_lines
        )

    # ---- what the steps above consist of

    def draw(self, model: DensityModel, step: int) -> Batch:
        """Draw a whole batch and its noise, functions of (seed, step)."""
        seed = seed_from(self.config.seed_value, "noise", step)
        generator = torch.Generator(self.processes.device).manual_seed(seed)
        return self.batches.at(step), model.draw_noise(self.settings.batch_size, generator)

    def run_validation(self, stop: Stop) -> bool:
        """Validate, unless this step was validated before; return False when stopped on the way."""
        record = self.state.record
        if self.validate is None or record.validated >= record.step:
            return True
        bits_per_dim = self.validate(self.state.averaged, stop)
        if bits_per_dim is None:
            return False
        self.state.validated(bits_per_dim)
        value: dict[str, Any] = {"validation_bits_per_dim": bits_per_dim}
        if not math.isfinite(bits_per_dim):  # an event, since it chooses nothing
            value = {"event": f"validation gave {bits_per_dim} bits/dim"}
            record.events.append({"step": record.step, **value})
        self.write(**value, seconds=round(record.seconds, 3))
        return True

    def write(self, **values: Any) -> None:
        """Write a line of the log."""
        step = self.state.record.step
        self.log.write(step=step, images=step * self.settings.batch_size, **values)

    def save(self) -> None:
        """Save the state, in the first process."""
        record = self.state.record
        record.log_lines = self.log.lines
        record.peak_memory_bytes = max(record.peak_memory_bytes, peak_memory(self.processes.device))
        if self.processes.first:
            self.checkpoints.save(record.step, self.state.to_dict())
        self.saved_at = record.step

    # ---- divergence

    def skip(self, step: Step) -> None:
        """Count a step whose loss or gradient is not finite; it changed no weight."""
        record = self.state.record
        record.skipped += 1
        record.skipped_in_a_row += 1
        what = f"loss {step.nats}, gradient norm {step.norm}: step skipped"
        self.write(event=what)
        if record.skipped_in_a_row == 1:
            record.events.append({"step": record.step, "event": what})

    def roll_back(self) -> None:
        """Return to the last good state with half the learning rate; at most `max_rollbacks` times.

        A state is good if a finite step followed it; where none is left, the run begins again.
        """
        state, settings, processes = self.state, self.settings, self.processes
        bad = copy.deepcopy(state.record)
        if bad.rollbacks == settings.max_rollbacks:
            raise MarscfError(
                f"{self.folder}: training diverged: {settings.max_skips} non-finite steps in a row at "
                f"step {bad.step}, after {bad.rollbacks} rollbacks; lower training.learning_rate "
                f"({settings.learning_rate:g}) or training.gradient_clip ({settings.gradient_clip})"
            )
        first_bad = bad.step - bad.skipped_in_a_row
        saved = processes.from_first(self.checkpoints.newest(before=first_bad) if processes.first else None)
        state.load_dict(saved if saved is not None else self.fresh_state().to_dict())
        record = state.record
        record.take_story(bad)
        what = (
            f"{settings.max_skips} non-finite steps in a row: back to step {record.step} with "
            f"{record.learning_rate_factor:g} of the learning rate"
        )
        record.events.append({"step": bad.step, "event": what})
        self.say(what)
        self.log.write(step=bad.step, images=bad.step * settings.batch_size, event=what)
        self.log.back_to(record.step)
        if processes.first:
            self.checkpoints.discard(record.step + 1)
        self.save()
        self.ahead = None
