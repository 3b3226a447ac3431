"""What a run costs on this machine: a few steps, scores and samples are timed, on noise images.

No data is needed, so one can plan before anything is downloaded. The weights are fresh ones. Where a batch
takes too long, smaller ones are timed, and a straight line through them tells what it would take.
"""

import time
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any

import torch

from marscf import models
from marscf.bench.work import noise_batch
from marscf.devices import choose_device
from marscf.evaluation.digits_net import DigitsNet
from marscf.evaluation.sampling import sample_chunk
from marscf.kernels.graphs import Replays
from marscf.kernels.precision import tf32
from marscf.models.base import DensityModel
from marscf.planning.counted import Counts, count
from marscf.planning.recorded import Recorded
from marscf.settings import RunConfig
from marscf.studies.machine import synchronise
from marscf.training.distributed import Processes
from marscf.training.gradients import Gradients
from marscf.training.loop import largest_norm
from marscf.training.receipt import peak_memory
from marscf.training.state import State

LONG = 0.6  # seconds, of a CPU those of its work: no larger batch is tried after one that took so long
VERY_LONG = 4.0  # seconds: where one image takes so long, it alone tells what more take
SMALL = 8  # images: this batch is tried unless one image took very long
FEW = 2  # images that ActNorm is set from, which for a time is enough
REPEATS = 3
MEASURED = "measured"
COPIES = 6  # of the parameters while training: weights, gradients, averages, best ones, two of the optimiser


@dataclass(frozen=True)
class Timing:
    """Seconds of a piece of work, by the clock and of the processor."""

    seconds: float
    cpu_seconds: float

    def times(self, factor: float) -> "Timing":
        """Return the timing of so many of it."""
        return Timing(self.seconds * factor, self.cpu_seconds * factor)

    def __add__(self, other: "Timing") -> "Timing":
        return Timing(self.seconds + other.seconds, self.cpu_seconds + other.cpu_seconds)


ZERO = Timing(0.0, 0.0)


@dataclass(frozen=True)
class Probe:
    """What one run's model costs."""

    source: str  # `MEASURED`, or the record that the rate of training is from
    counts: Counts
    step: Timing | None  # of training; None of a model that is not trained by steps
    score: Timing  # of the likelihood of one image, one draw
    sample: Timing  # of drawing one image
    noisy: bool  # whether the likelihood takes noise, so that several draws are averaged
    base_bytes: int  # of the process before there is a model; none of it is a GPU's
    start: Timing  # of Python and its packages


_started = ZERO
_base = 0


def start(threads: int) -> None:
    """Begin a process that probes: note what its start took of time and of memory."""
    global _started, _base
    torch.set_num_threads(threads)
    cost = time.process_time()
    _started, _base = Timing(cost, cost), peak_memory(torch.device("cpu"))


def probe(
    values: dict[str, Any],
    score_batch: int,
    sample_batch: int,
    on: str,
    known: Counts | None,
    recorded: Recorded | None,
) -> Probe:
    """Measure the model of a run's config on a device of this machine, or take `recorded` rates.

    What is `known` of it is not counted again.
    """
    config, device = RunConfig.from_json(values), choose_device(on)
    part = -(-config.training.batch_size // config.training.accumulate)
    plain = replace(config.training, accumulate=1, compile=False)
    settings, config = config, replace(config, training=plain)
    torch.manual_seed(0)
    if known and recorded:  # nothing of it is run: it needs no weights
        with torch.device("meta"):
            model = models.build(config)
    else:
        model = models.build(config).to(device)
        if not model.closed_form:
            model.initialise(*noise_batch(model, FEW))
    counts = known or count(model)
    step = None
    if not model.closed_form and recorded is None:
        model.activation_checkpointing = plain.activation_checkpointing
        training = timed(_training(model, config, device), part, device)
        step = training.times(config.training.batch_size / part)
    model.float().eval()
    if recorded is None:
        score = timed(_scoring(model), score_batch, device).times(1 / score_batch)
        sample = timed(lambda n: sample_chunk(model, n, 0, 0), sample_batch, device).times(1 / sample_batch)
        source = MEASURED
    else:
        step, score, sample, source = _by_records(recorded, settings, counts.gflops_per_image or 0.0, model)
    return Probe(
        source=source,
        counts=counts,
        step=step,
        score=score,
        sample=sample,
        noisy=model.draw_noise(1) is not None,
        base_bytes=0 if recorded or device.type == "cuda" else _base,
        start=_started,
    )


def _by_records(
    recorded: Recorded, config: RunConfig, gflops: float, model: DensityModel
) -> tuple[Timing, Timing, Timing, str]:
    """Return a step, a score and a sample by recorded rates, and whose rates they are.

    A likelihood takes a third of the operations of its gradients' step, and so does a sample of a flow.
    """
    coupling = config.options.get("coupling")
    of = config.system, coupling, model.replayable
    training = recorded.training(*of, config.training)
    scoring = recorded.work("evaluation", *of)
    sampling = recorded.work("sampling", *of)

    step, score, sample = (
        Timing(1e9 * gflops * images / rate.flops, 0.0)
        for images, rate in ((config.training.batch_size, training), (1 / 3, scoring), (1 / 3, sampling))
    )
    return step, score, sample, training.of


def probe_digits_net(side: int) -> Timing:
    """Return what training digits-net on one image takes; to look at one is a third of it."""
    net = DigitsNet(side, 10).train()

    def step(n: int) -> None:
        images = torch.randint(0, 256, (n, 3, side, side), dtype=torch.uint8)
        net(images)[1].logsumexp(1).sum().backward()

    return timed(step, 128, torch.device("cpu")).times(1 / 128)


def timed(work: Callable[[int], object], wanted: int, device: torch.device) -> Timing:
    """Return what `work(wanted)` takes: where that is long, by a line through smaller batches."""

    def took(one: Timing) -> float:  # on a busy machine the clock says more of others than of the work
        return min(one.seconds, one.cpu_seconds) if device.type == "cpu" else one.seconds

    found: list[tuple[int, Timing]] = []
    n = 1
    while True:
        try:
            one = _call(work, n, device)
            if took(one) < LONG:  # that call was its warm-up
                one = min((_call(work, n, device) for _ in range(REPEATS)), key=lambda t: t.seconds)
        except torch.OutOfMemoryError:
            if not found:
                raise
            break
        found.append((n, one))
        if n == wanted or took(one) > (LONG if n >= SMALL else VERY_LONG):
            break
        n = min(wanted, SMALL if n < SMALL else 4 * n)
    (before, first), (n, last) = (found[-2] if len(found) > 1 else (0, ZERO)), found[-1]
    each = Timing(*(max(0.0, a - b) / (n - before) for a, b in zip(_pair(last), _pair(first), strict=True)))
    return last + each.times(wanted - n)


def _pair(timing: Timing) -> tuple[float, float]:
    return timing.seconds, timing.cpu_seconds


def _call(work: Callable[[int], object], n: int, device: torch.device) -> Timing:
    synchronise(device)
    wall, processor = time.perf_counter(), time.process_time()
    work(n)
    synchronise(device)
    return Timing(time.perf_counter() - wall, time.process_time() - processor)


def _training(model: DensityModel, config: RunConfig, device: torch.device) -> Callable[[int], object]:
    """Return a training step on so many images, as the trainer takes it."""
    state = State(model.train(), config.training)
    gradients = Gradients(model, config, Processes(0, 1, device))
    most = largest_norm(config.training, config.data.dims)

    def step(n: int) -> None:
        loss = gradients(0, *noise_batch(model, n))
        norm = torch.nn.utils.clip_grad_norm_(state.optimizer.parameters, most)
        torch.stack([loss, norm.to(loss.dtype)]).tolist()
        state.update(1e-5, config.training.average_decay)
        state.optimizer.zero_grad()

    return step


def _scoring(model: DensityModel) -> Callable[[int], object]:
    """Return the likelihood of so many images, as the evaluation takes it."""
    recordings = Replays()

    def score(n: int) -> None:
        x, noise = noise_batch(model, n)
        with torch.no_grad(), tf32(False):
            recordings.run(model.log_prob, [x, noise]) if model.recorded else model.log_prob(x, noise)

    return score
