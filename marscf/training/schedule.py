"""Learning rate and averaging as pure functions of the step, so that nothing about them is saved."""

import math

from marscf.settings import TrainingSettings


def learning_rate(step: int, training: TrainingSettings) -> float:
    """Return the learning rate of `step` (from 0): linear warm-up in images, then constant or cosine.

    The cosine (Loshchilov and Hutter, arXiv 1608.03983) falls from the end of the warm-up to 0 at the last
    step.
    """
    peak, batch_size = training.learning_rate, training.batch_size
    warmup_steps = training.warmup_images / batch_size
    if step + 1 < warmup_steps:
        return peak * (step + 1) / warmup_steps
    if training.decay == "constant":
        return peak
    done = (step - warmup_steps) / max(1.0, training.steps - warmup_steps)
    return peak * 0.5 * (1 + math.cos(math.pi * min(1.0, max(0.0, done))))


def average_decay(step: int, training: TrainingSettings) -> float:
    """Return the decay of the weights' moving average at `step`, lower at first to forget the start."""
    return min(training.average_decay, (1 + step) / (10 + step))
