"""The training of one run, from top to bottom.

A step is a pure function of the state before it and its number: batch, augmentation, dequantisation noise
and dropout are seeded by (seed, step). So a saved state needs no generator, and N steps, a kill and N steps
more are 2N steps, bit for bit, on the same machine and number of threads.
"""

import copy
import math
import time
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
from marscf.training.checkpoints import Checkpoints
from marscf.training.distributed import Processes
from marscf.training.gradients import Gradients
from marscf.training.interrupt import Stop
from marscf.training.log import Log, Silence, say
from marscf.training.receipt import peak_memory
from marscf.training.schedule import average_decay, learning_rate
from marscf.training.state import Record, State
from marscf.training.validation import Validation

UNTIMED_STEPS = 3  # of each process: allocations, compilation
LOG_LINES = 500  # about so many records of training steps in a run


def largest_norm(training: dict[str, Any], dims: int) -> float:
    """Return the largest norm of the gradient of the loss that is minimised here, nats per sub-pixel."""
    units = {"nats/dim": 1.0, "bits/dim": math.log(2), "nats/image": 1 / dims}
    return (training["gradient_clip"] or math.inf) * units[training["gradient_clip_unit"]]


class Training:
    """One run's training on one of its processes."""

    def __init__(self, folder: Path, config: dict[str, Any], data_digest: str, processes: Processes):
        self.folder, self.config, self.processes = folder, config, processes
        self.settings = config["training"]
        if self.settings["batch_size"] < processes.count * self.settings["accumulate"]:
            raise ConfigError(
                f"training.batch_size: {self.settings['batch_size']} images are fewer than "
                f"{processes.count} processes × {self.settings['accumulate']} accumulated parts"
            )
        self.batches = Batches(
            open_training(config["dataset"], everything=self.settings["validation_images"] == 0),
            self.settings["batch_size"],
            config["seed_value"],
            processes.device,
            config["data"]["augment"],
        )
        self.validate = None
        if self.settings["validation_images"]:
            self.validate = Validation(open_split(config["dataset"], "val"), config, processes)
        self.largest_norm = largest_norm(self.settings, config["data"]["dims"])
        self.checkpoints = Checkpoints(folder, config, data_digest)
        self.say = say if processes.first else lambda line: None
        if self.settings["precision"] == "bfloat16" and not computes_in_bfloat16(processes.device):
            self.say(f"{processes.device} only emulates bfloat16: with precision float32 it is far faster")
        if processes.first:
            self.checkpoints.clean()
            (folder / RECEIPT).unlink(missing_ok=True)  # it was not this config's, data's or weights'

    def run(self, stop: Stop) -> State:
        """Train from the newest good state, or from the start; raises `Interrupted` when stopped."""
        settings, processes = self.settings, self.processes
        state = self.fresh_state()
        model, record = state.model, state.record
        self.resume(state)
        gradients = Gradients(model, self.config, processes)
        log = self.open_log(record.step, record.log_lines)
        stop.begin()
        untimed, saved_at, ahead = UNTIMED_STEPS, record.step, None
        clock, processor = time.monotonic(), time.process_time()
        try:
            while True:
                # ---- between two steps: validate, save, stop
                step, last = record.step, record.step == settings["steps"]
                stopping = processes.any(stop.requested())
                if (
                    self.validate is not None
                    and not stopping
                    and record.validated < step
                    and (last or step % settings["validate_every"] == 0)
                ):
                    bits_per_dim = self.validate(state.averaged, stop)
                    stopping = bits_per_dim is None
                    if bits_per_dim is not None:
                        state.validated(bits_per_dim)
                        self.log_validation(log, record, bits_per_dim)
                record.seconds, clock = record.seconds + time.monotonic() - clock, time.monotonic()
                record.cpu_seconds += time.process_time() - processor
                processor = time.process_time()
                due = step % settings["checkpoint_every"] == 0 and not record.skipped_in_a_row
                if step != saved_at and (stopping or last or due):
                    self.save(state, log.lines)
                    saved_at = step
                if stopping:
                    raise Interrupted(
                        f"{self.folder}: stopped by {stop.reason or 'another process'} at step {step} of "
                        f"{settings['steps']}, saved; call again to go on"
                    )
                if last:
                    return state

                # ---- one step
                started = time.monotonic()
                rate = learning_rate(step, settings) * record.learning_rate_factor
                x, noise = ahead if ahead is not None else self.draw(model, step)
                loss = gradients(step, x, noise)
                norm = torch.nn.utils.clip_grad_norm_(state.optimizer.parameters, self.largest_norm)
                ahead = self.draw(model, step + 1)  # before waiting for what a GPU has in hand
                nats, norm = torch.stack([loss, norm.to(loss.dtype)]).tolist()
                record.step += 1
                finite = math.isfinite(nats) and math.isfinite(norm)
                if finite:
                    state.update(rate, average_decay(step, settings))
                    record.skipped_in_a_row = 0
                else:
                    self.skip(state, log, nats, norm)
                state.optimizer.zero_grad()
                if record.skipped_in_a_row == settings["max_skips"]:
                    self.roll_back(state, log)
                    saved_at, ahead = record.step, None
                    continue

                # ---- its record
                if untimed:
                    untimed -= 1
                else:
                    record.timed_seconds += time.monotonic() - started
                    record.timed_images += len(x)
                bits_per_dim = nats / math.log(2)
                log.advance(bits_per_dim)
                if finite and record.step % max(1, settings["steps"] // LOG_LINES) == 0:
                    log.write(
                        step=record.step,
                        images=self.images(record.step),
                        train_bits_per_dim=bits_per_dim,
                        learning_rate=rate,
                        gradient_norm=norm,
                        seconds=round(record.seconds + time.monotonic() - clock, 3),
                    )
        finally:
            log.close()

    # ---- beginnings

    def fresh_state(self) -> State:
        """Build the model with seeded weights and set what depends on data (ActNorm) from the first batch."""
        torch.manual_seed(seed_from(self.config["seed_value"], "weights"))
        model = models.build(self.config).to(self.processes.device).train()
        model.activation_checkpointing = self.settings["activation_checkpointing"]
        if model.activation_checkpointing and not model.can_recompute:
            raise ConfigError(
                f"training.activation_checkpointing: {self.config['model']} cannot; set it to false in "
                f"config/systems/{self.config['system']}.yaml"
            )
        model.initialise(*self.draw(model, 0))
        return State(model, self.settings)

    def resume(self, state: State) -> None:
        """Take over the newest good state, where there is one."""
        processes = self.processes
        saved = processes.from_first(self.checkpoints.newest() if processes.first else None)
        refused = self.checkpoints.refused
        if saved is not None:
            state.load_dict(saved)
            for line in refused:
                self.say(f"refused: {line}")
            self.say(f"{self.folder} goes on at step {state.record.step} of {self.settings['steps']}")
        elif refused:
            more = f" (and {len(refused) - 1} more refused)" if len(refused) > 1 else ""
            self.say(f"{self.folder} starts anew: {refused[0]}{more}")

    def open_log(self, step: int, lines: int) -> Log | Silence:
        """Open the log where a state of that step left it."""
        if not self.processes.first:
            return Silence()
        name = f"{self.config['system']} on {self.config['dataset']}"
        return Log(self.folder, name, self.settings["steps"], self.settings["batch_size"], step, lines)

    def draw(self, model: DensityModel, step: int) -> tuple[Tensor, Tensor | None]:
        """Draw a whole batch and its noise, functions of (seed, step)."""
        seed = seed_from(self.config["seed_value"], "noise", step)
        generator = torch.Generator(self.processes.device).manual_seed(seed)
        return self.batches.at(step), model.draw_noise(self.settings["batch_size"], generator)

    def log_validation(self, log: Log, record: Record, bits_per_dim: float) -> None:
        """Record a validation; one that isn't finite is an event, since it chooses nothing."""
        value = {"validation_bits_per_dim": bits_per_dim}
        if not math.isfinite(bits_per_dim):
            value = {"event": f"validation gave {bits_per_dim} bits/dim"}
            record.events.append({"step": record.step, **value})
        log.write(
            step=record.step, images=self.images(record.step), **value, seconds=round(record.seconds, 3)
        )

    def images(self, step: int) -> int:
        """Number of images seen after `step` steps."""
        return step * self.settings["batch_size"]

    def save(self, state: State, log_lines: int) -> None:
        """Save the state, in the first process."""
        record = state.record
        record.log_lines = log_lines
        record.peak_memory_bytes = max(record.peak_memory_bytes, peak_memory(self.processes.device))
        if self.processes.first:
            self.checkpoints.save(record.step, state.to_dict())

    # ---- divergence

    def skip(self, state: State, log: Log, nats: float, norm: float) -> None:
        """Count a step whose loss or gradient is not finite; it changed no weight."""
        record = state.record
        record.skipped += 1
        record.skipped_in_a_row += 1
        what = f"loss {nats}, gradient norm {norm}: step skipped"
        log.write(step=record.step, images=self.images(record.step), event=what)
        if record.skipped_in_a_row == 1:
            record.events.append({"step": record.step, "event": what})

    def roll_back(self, state: State, log: Log) -> None:
        """Return to the last good state with half the learning rate; raises `MarscfError` once too often.

        A state is good if a finite step followed it; where none is left, the run begins again.
        """
        record, settings, processes = copy.deepcopy(state.record), self.settings, self.processes
        if record.rollbacks == settings["max_rollbacks"]:
            raise MarscfError(
                f"{self.folder}: training diverged: {settings['max_skips']} non-finite steps in a row at "
                f"step {record.step}, after {record.rollbacks} rollbacks; lower training.learning_rate "
                f"({settings['learning_rate']:g}) or training.gradient_clip ({settings['gradient_clip']})"
            )
        first_bad = record.step - record.skipped_in_a_row
        saved = processes.from_first(self.checkpoints.newest(before=first_bad) if processes.first else None)
        state.load_dict(saved if saved is not None else self.fresh_state().to_dict())
        state.record.take_story(record)
        what = (
            f"{settings['max_skips']} non-finite steps in a row: back to step {state.record.step} with "
            f"{state.record.learning_rate_factor:g} of the learning rate"
        )
        state.record.events.append({"step": record.step, "event": what})
        self.say(what)
        log.write(step=record.step, images=self.images(record.step), event=what)
        log.back_to(state.record.step)
        if processes.first:
            self.checkpoints.discard(state.record.step + 1)
        self.save(state, log.lines)
