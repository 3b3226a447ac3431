"""Work times cost: how long each run takes, what it needs, and what would fit instead."""

import math
import os
import shutil
import sys
from collections.abc import Iterator
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass, replace
from multiprocessing import get_context
from pathlib import Path

from tqdm import tqdm

from marscf.config import Dataset
from marscf.evaluation.digits_net import RECIPE
from marscf.planning.counted import form, known
from marscf.planning.probe import COPIES, ZERO, Probe, Timing, probe, probe_digits_net, start
from marscf.planning.recorded import Recorded
from marscf.planning.work import Left, Selection, counts, drawings, left, to_download
from marscf.settings import RunConfig

#: Seconds of one core, measured at scale quick: FID, KID, precision, recall of features; a table or figure.
COMPARED, DRAWN = 2.0, 4.0
#: Seconds that Inception takes for an image: a core, a GPU.
INCEPTION = {"cpu": 0.33, "cuda": 0.001}
UNLIMITED = 60.0  # seconds that a point of the sweep of sampling speeds takes where the scale gives no limit
DAY = 86400
FLOAT = 4  # bytes


@dataclass(frozen=True)
class Estimate:
    """What one run will take."""

    left: Left
    probe: Probe
    train: Timing
    likelihood: Timing
    fidelity: Timing
    rest: Timing  # samples to look at, latents, interpolation

    @property
    def measuring(self) -> Timing:
        """The likelihood and the fidelity."""
        return self.likelihood + self.fidelity

    def memory(self, parts: int | None = None, recompute: bool | None = None) -> float:
        """Return the most bytes that training holds, with the batch in so many parts."""
        settings = self.left.config.training
        low = settings.activation_checkpointing if recompute is None else recompute
        kept = self.probe.counts.kept_if_recomputed if low else self.probe.counts.kept_bytes
        images = -(-settings.batch_size // (parts or settings.accumulate))
        return self.probe.base_bytes + COPIES * FLOAT * self.probe.counts.parameters + images * (kept or 0.0)

    @property
    def disk(self) -> float:
        """Bytes that the run will leave: weights, two states of training, samples."""
        weights = FLOAT * self.probe.counts.parameters
        states = 2 * (COPIES - 1) * weights if self.probe.step else 0
        samples = (self.left.drawn + self.left.grid) * math.prod(self.left.config.data.shape)
        return (weights + states if self.left.steps else 0) + samples


@dataclass(frozen=True)
class Machine:
    """Where it is to run."""

    device: str  # as torch calls it
    name: str  # in words
    cores: int
    at_once: int  # jobs
    memory: float | None  # bytes that jobs have together; None where that is not known
    disk: int  # bytes free here


@dataclass(frozen=True)
class Whole:
    """What a scale will take."""

    selection: Selection
    machine: Machine
    runs: list[Estimate]
    others: dict[str, Timing]  # what is done for several runs together
    sweep: Timing  # of the sampling speeds: it takes all cores, so that nothing runs beside it
    download: int
    arrays: int  # bytes of prepared datasets
    assumed: list[str]  # datasets whose number of images is not known before they are prepared

    @property
    def total(self) -> Timing:
        """All work, one job after the other."""
        found = [part for run in self.runs for part in (run.train, run.measuring, run.rest)]
        return sum([*found, *self.others.values(), self.sweep], ZERO)

    @property
    def seconds(self) -> float:
        """By the clock: as many jobs at once as there is room for, those of a run one after the other."""
        alone = self.sweep.seconds
        longest = max(((run.train + run.measuring + run.rest).seconds for run in self.runs), default=0.0)
        return max(longest, (self.total.seconds - alone) / self.machine.at_once) + alone

    @property
    def disk(self) -> float:
        """Bytes that all runs and datasets will take."""
        return self.arrays + sum(run.disk for run in self.runs)

    def advice(self) -> Iterator[str]:
        """Say of each run that does not fit what would, and which scale to take where all takes days."""
        settings = self.selection.scale
        room = self.machine.memory and self.machine.memory / self.machine.at_once
        for run in unlike(self.runs):
            if room and run.left.steps and run.memory() > room:
                yield f"{run.left.run.dataset} {run.left.run.system}: {_instead(run, room)}"
        if self.seconds > DAY and (smaller := smaller_scale(self.selection)):
            yield f"it takes days: the next smaller scale is {smaller}; marscf plan --scale {smaller}"
        if self.download and settings.datasets:
            yield "marscf data NAME fetches a dataset now; a mirror takes the place of the publishers"


def _instead(run: Estimate, room: float) -> str:
    """Return what would fit instead, the cheapest first."""
    settings = run.left.config.training
    says = f"needs {gigabytes(run.memory())}, there are {gigabytes(room)}"
    can = run.probe.counts.kept_if_recomputed is not None
    for recompute in (settings.activation_checkpointing, True)[: 1 + can]:
        parts = settings.accumulate
        while parts <= settings.batch_size:
            if run.memory(parts, recompute) <= room:
                changes = [f"accumulate: {parts}"] * (parts > settings.accumulate)
                changes += ["activation_checkpointing: true"] * (
                    recompute > settings.activation_checkpointing
                )
                needs = gigabytes(run.memory(parts, recompute))
                return f"{says}; training: {{{', '.join(changes)}}} needs {needs}"
            parts *= 2
    return f"{says}, and no way to split the batch fits; take a smaller scale"


def smaller_scale(selection: Selection) -> str | None:
    """Return the scale whose trainings are given the most time below those of this one."""
    minutes = {
        name: scale.resources.minutes
        for name, scale in selection.config.scales.items()
        if not scale.published
    }
    own = selection.scale
    jobs = {name: (selection.config.scales[name].resources.gpu, minutes[name]) for name in minutes}
    below = [name for name in jobs if jobs[name] < (own.resources.gpu, own.resources.minutes)]
    return max(below, key=lambda name: jobs[name], default=None)


def gigabytes(size: float) -> str:
    """Return `1.2 GB`, `34 MB`."""
    return f"{size / 1e9:.1f} GB" if size >= 1e9 else f"{size / 1e6:.0f} MB"


def unlike(runs: list[Estimate]) -> list[Estimate]:
    """Return one estimate for each dataset and system."""
    found = {(run.left.run.dataset, run.left.run.system): run for run in runs}
    return list(found.values())


def machine_of(device: str, cores: int, threads: int) -> Machine:
    """Return this machine, as a scale's jobs see it."""
    import torch

    from marscf.devices import choose_device
    from marscf.studies.machine import describe

    chosen = choose_device(device)
    free = shutil.disk_usage(".").free
    if chosen.type == "cuda":
        memory = torch.cuda.mem_get_info(chosen)[1]
        return Machine(str(chosen), describe(chosen), cores, 1, memory, free)
    memory = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    return Machine("cpu", describe(chosen), cores, max(1, cores // threads), memory, free)


def estimate(selection: Selection, machine: Machine, recorded: Recorded | None, mirror: str | None) -> Whole:
    """Probe each kind of run once, as many at a time as will run at once, and put it all together."""
    work = left(selection)
    keys = {str(one.run.path): _key(one.config) for one in work}
    threads = min(machine.cores, selection.scale.resources.threads)
    workers = max(1, machine.cores // threads) if recorded else machine.at_once
    with ProcessPoolExecutor(
        workers, mp_context=get_context("spawn"), initializer=start, initargs=(threads,)
    ) as pool:
        waiting = {}
        for one in work:
            batches = one.evaluation.batch_size, one.evaluation.fidelity.batch_size
            if (key := keys[str(one.run.path)]) not in waiting:
                counted = known(one.config) if machine.device == "cpu" else None
                arguments = one.config.to_json(), *batches, machine.device, counted, recorded
                waiting[key] = pool.submit(probe, *arguments)
        sides = {
            one.config.data.shape[1] for one in work if one.evaluation.fidelity.extractor == "digits-net"
        }
        timed = {side: pool.submit(probe_digits_net, side) for side in sorted(sides)}
        seen = tqdm(waiting.items(), desc="probe", unit="model", disable=not sys.stderr.isatty(), leave=False)
        probes = {key: future.result() for key, future in seen}
        nets = {side: future.result() for side, future in timed.items()}
    runs = [_of_run(one, probes[keys[str(one.run.path)]], nets, machine) for one in work]
    names = list(dict.fromkeys(one.run.dataset for one in work))
    datasets = [selection.config.dataset(name) for name in names]
    arrays = {d.name: sum(counts(d)[0].values()) * math.prod(d.shape) for d in datasets}
    return Whole(
        selection,
        machine,
        runs,
        _others(selection, runs, nets, datasets),
        _sweep(selection),
        sum(to_download(dataset, mirror) for dataset in datasets),
        sum(
            size
            for name, size in arrays.items()
            if not Path("data/datasets", name, "manifest.json").is_file()
        ),
        [dataset.name for dataset in datasets if not counts(dataset)[1]],
    )


def _key(config: RunConfig) -> str:
    """What a model's cost depends on: runs that differ in nothing of it are probed once."""
    how = [getattr(config.training, name) for name in ("batch_size", "accumulate", "precision", "compile")]
    how.append(config.training.activation_checkpointing)
    return repr((form(config), how))


def _looked_at(one: Left, nets: dict[int, Timing], machine: Machine) -> Timing:
    """What the extractor takes for an image."""
    if one.evaluation.fidelity.extractor == "digits-net":
        return nets[one.config.data.shape[1]].times(1 / 3)
    seconds = INCEPTION[machine.device.partition(":")[0]]
    return Timing(seconds, seconds)


def _of_run(one: Left, probe: Probe, nets: dict[int, Timing], machine: Machine) -> Estimate:
    train = likelihood = fidelity = rest = ZERO
    if one.steps:
        steps = probe.step.times(one.steps) if probe.step else ZERO
        train = probe.start + steps + probe.score.times(one.validated)
    if one.scored:
        likelihood = probe.start + probe.score.times(one.scored if probe.noisy else one.scored_once)
    if one.fidelity:
        each = probe.sample + _looked_at(one, nets, machine)
        fidelity = probe.start + each.times(one.drawn) + Timing(COMPARED, COMPARED)
    if one.grid:
        rest += probe.start + probe.sample.times(one.grid)
    if one.walked and probe.step:
        rest += probe.start + probe.step.times(one.walked / one.config.training.batch_size)
    return Estimate(one, probe, train, likelihood, fidelity, rest)


def _others(
    selection: Selection, runs: list[Estimate], nets: dict[int, Timing], datasets: list[Dataset]
) -> dict[str, Timing]:
    """What is done for several runs together: extractors, tables and figures."""
    scale, begun = selection.scale, runs[0].probe.start
    found: dict[str, Timing] = {}
    for dataset in datasets:
        name, number = dataset.name, counts(dataset)[0]
        digits = scale.evaluation_on(dataset).fidelity.extractor == "digits-net"
        if digits and not Path(f"data/extractors/digits-net/{name}/receipt.json").is_file():
            images = min(RECIPE["images"], RECIPE["epochs"] * number["train"])
            found[f"digits-net, {name}"] = begun + nets[dataset.shape[1]].times(images)
    if any(not run.left.done for run in runs) or not Path("reports", scale.name, "index.html").is_file():
        found["tables and figures"] = Timing(DRAWN, DRAWN).times(drawings(selection))
    return found


def _sweep(selection: Selection) -> Timing:
    """The sweep of sampling speeds: at most the time that the scale gives each of its points."""
    settings = selection.scale.studies.sampling_speed
    if Path("reports", selection.scale.name, "sampling_speed.csv").is_file():
        return ZERO
    seconds = len(selection.plan.timed()) * len(settings.sides) * (settings.budget_seconds or UNLIMITED)
    return Timing(seconds, seconds)


def elsewhere(recorded: Recorded, machine: Machine) -> Machine:
    """Return the machine that is recorded: its memory is not, and its jobs run one after the other."""
    return replace(machine, device="cpu", name=recorded.device, at_once=1, memory=None)
