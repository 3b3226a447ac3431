"""How a run is trained: every setting, its default and its range, declared once.

`marscf.config` makes the schema of the YAML files from it; a machine that has torch alone reads the defaults.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

if TYPE_CHECKING:
    from marscf.options import NonNegativeFloat, NonNegativeInt, PositiveFloat, PositiveInt, Probability


@dataclass(frozen=True)
class Training:
    """The `training` of a run's config."""

    steps: PositiveInt = 1000  # optimiser steps
    batch_size: PositiveInt = 64  # images per step, over all processes and accumulated parts
    augment: Literal["none", "flip", "shift", "flip-shift"] | None = None  # None: what the dataset says
    optimizer: Literal["adamax", "adam"] = "adamax"
    betas: tuple[Probability, Probability] = (0.9, 0.999)  # of the optimiser
    learning_rate: PositiveFloat = 8e-4
    warmup_images: NonNegativeInt = 10_000  # linear warm-up, in images as in the authors' code
    decay: Literal["constant", "cosine"] = "constant"  # of the learning rate after the warm-up
    weight_decay: NonNegativeFloat = 0.0  # L2, against overfitting where the dataset is small
    gradient_clip: PositiveFloat | None = 100.0  # largest global norm of the gradient of the loss
    gradient_clip_unit: Literal["nats/dim", "bits/dim", "nats/image"] = "nats/dim"  # of that loss
    average_decay: Probability = 0.999  # of the exponential moving average of the weights; 0 turns it off
    validate_every: PositiveInt = 500  # steps between validations; the best averaged weights are kept
    # at most so many of the validation images; 0 trains on them too and keeps the last averaged weights
    validation_images: NonNegativeInt = 1000
    checkpoint_every: PositiveInt = 500  # steps between saved training states
    accumulate: PositiveInt = 1  # parts a batch is split into, one after the other on each process
    activation_checkpointing: bool = False  # recompute activations in the backward pass
    precision: Literal["float32", "bfloat16"] = "float32"  # of the networks; densities stay float32
    compile: bool = False  # torch.compile of most work: minutes at the start; a CPU needs a C++ compiler
    max_skips: PositiveInt = 10  # non-finite steps in a row before the run goes back to a checkpoint
    max_rollbacks: NonNegativeInt = 3  # with half the learning rate each, before the run is given up
