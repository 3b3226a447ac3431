"""Sampling speed over image sides (Fig. 7): milliseconds and counted sequential steps.

Models are built from the config, with a system's options at the scale and, where it has `levels`, as many
as Lemma A.1 asks for at each side (`marscf.studies.scaling.levels_at`). Weights are fresh, for times do not
depend on them but in iterative inverses: those get trained-like ones (`marscf.studies.weights`).
"""

import csv
import math
import statistics
import sys
import time
from collections.abc import Iterator
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import torch
from tqdm import tqdm

from marscf.code import behind
from marscf.config import Config, SamplingSpeed, load_config, resolve
from marscf.counting import counted
from marscf.devices import choose_device
from marscf.errors import MarscfError
from marscf.files import digest, read_json, replacing, write_json
from marscf.models import build
from marscf.runs import Run, own_config, run_config
from marscf.settings import RunConfig
from marscf.studies.machine import describe, machine, synchronise
from marscf.studies.scaling import levels_at
from marscf.studies.weights import TrainedRun, make_trained_like, smooth_images, trained_run

COLUMNS = [
    *("system", "image_size", "channels", "levels", "sequential_steps"),
    *("batch_size", "repeat", "milliseconds", "device"),
]
ANY_WEIGHTS = "fresh: the time does not depend on them"
LEAST_REPEATS = 2
TOO_SLOW = 10  # a point is left out where one call would take more than this many budgets


@dataclass(frozen=True)
class Point:
    """One model to time: a run's config at some image side."""

    config: RunConfig
    batch_size: int

    def describe(self) -> dict[str, Any]:
        """Return the columns that say which point it is; `levels` is 0 for a system that has none."""
        channels, side, _ = self.config.data.shape
        return {
            "system": self.config.system,
            "image_size": side,
            "channels": channels,
            "levels": self.config.options.get("levels", 0),
            "batch_size": self.batch_size,
        }

    @property
    def image_size(self) -> int:
        """The side of its images."""
        return self.config.data.shape[1]


@dataclass(frozen=True)
class Timing:
    """What was measured at a point; each of `milliseconds` is one draw of a whole batch."""

    sequential_steps: int
    milliseconds: list[float]
    weights: str  # in words
    weights_sha256: str | None = None  # of the trained run's file, where one was used

    @property
    def median_seconds(self) -> float:
        """The median over repeats."""
        return statistics.median(self.milliseconds) / 1000


def plan(config: Config, scale: str, systems: list[str] | None = None) -> dict[str, list[Point]]:
    """Return the points of the sweep by system, small sides first; without `systems` those of the scale.

    Options and grey levels are those for `studies.sampling_speed.dataset`: of the runs that are there, where
    they are published checkpoints. Raises `ConfigError` for unknown names.
    """
    the_scale = config.scale(scale)
    settings = the_scale.studies.sampling_speed
    names = systems or [name for name in config.systems_of(scale) if name not in settings.exclude]
    if the_scale.published:
        names = [name for name in names if own_config(_run(config, scale, name).path)]
    points: dict[str, list[Point]] = {}
    for name in names:
        run = _run(config, scale, name)
        if the_scale.published:
            resolved = run_config(run.path)
        else:
            resolved = resolve(config, scale, run.dataset, name, run.seed)
        points[name] = [_point(resolved, settings, side) for side in sorted(set(settings.sides))]
    return points


def _run(config: Config, scale: str, system: str) -> Run:
    """The run whose system is timed: its first seed."""
    the_scale = config.scale(scale)
    dataset = the_scale.studies.sampling_speed.dataset or the_scale.datasets[0]
    return Run(scale, dataset, system, config.seeds(scale, system)[0])


def _point(run: RunConfig, settings: SamplingSpeed, side: int) -> Point:
    options = dict(run.options)
    if "levels" in options:
        options["levels"] = levels_at(side, run.data.shape[1], options["levels"])
        blocks = options.get("blocks")
        if isinstance(
            blocks, list
        ):  # a number for each resolution, one more than levels; the last is repeated
            options["blocks"] = (blocks + blocks[-1:] * options["levels"])[: options["levels"] + 1]
    data = replace(run.data, shape=(settings.channels, side, side))
    return Point(replace(run, options=options, data=data), settings.batch_size)


def measure(
    point: Point, settings: SamplingSpeed, device: torch.device, trained: TrainedRun | None = None
) -> Timing:
    """Build a point's model and time `sample(batch_size)` on the device.

    The first call warms up and counts the steps, and is not timed. Each timed call waits for the device
    before and after. Repeats end when the system's budget is spent, but not before the second.
    `trained` is a run of this system, used where the time depends on weights.
    """
    torch.manual_seed(0)
    model = build(point.config).to(device)
    weights, sha256 = ANY_WEIGHTS, None
    if model.sampling_depends_on_weights:
        weights = f"{model.sampling_depends_on_weights}; {make_trained_like(model, trained)}"
        sha256 = trained.sha256 if trained else None
    model.initialise(smooth_images(point.batch_size, model.shape, model.grey_levels, device))
    model.eval()
    generator = torch.Generator(device).manual_seed(0)
    with counted() as steps:
        model.sample(point.batch_size, generator=generator)
    synchronise(device)
    milliseconds: list[float] = []
    budget = 1000 * (settings.budget(point.config.system) or math.inf)
    while len(milliseconds) < settings.repeats:
        if len(milliseconds) >= LEAST_REPEATS and sum(milliseconds) >= budget:
            break
        start = time.perf_counter()
        model.sample(point.batch_size, generator=generator)
        synchronise(device)
        milliseconds.append(round(1000 * (time.perf_counter() - start), 4))
    return Timing(steps.total, milliseconds, weights, sha256)


def predicted_seconds(side: int, known: dict[int, float]) -> float:
    """Extrapolate the seconds of one call from those at smaller sides, `{side: seconds}`.

    By the power law through the last two; from one alone in proportion to the pixels; 0 from none.
    """
    if not known:
        return 0.0
    *earlier, last = sorted(known)
    exponent = 2.0
    if earlier:
        exponent = math.log(known[last] / known[earlier[-1]]) / math.log(last / earlier[-1])
    return known[last] * (side / last) ** exponent


def sweep(
    scale: str,
    systems: list[str] | None = None,
    device: str = "auto",
    out: Path | None = None,
    repeats: int | None = None,
) -> Path:
    """Measure a scale's points and write `out`, by default `reports/<scale>/sampling_speed.csv`.

    `repeats` is how many of a point at most.

    The JSON beside it is the record: machine, settings, every point with its weights, and what was left out
    and why. It is saved after each point, so that a call that was interrupted, or one for more systems, goes
    on from there.
    """
    config, where = load_config(), choose_device(device)
    points = plan(config, scale, systems)
    out = Path(out or f"reports/{scale}/sampling_speed.csv")
    settings = config.scale(scale).studies.sampling_speed
    settings = settings.model_copy(update={"repeats": min(settings.repeats, repeats or settings.repeats)})
    record = Record(out.with_suffix(".json"), scale, settings, machine(where))
    rows: list[list[Any]] = []
    with tqdm(total=sum(map(len, points.values())), desc="sampling speed", unit="point") as bar:
        for system, its_points in points.items():
            trained = trained_run(_run(config, scale, system).path)
            for point, timing in _timed(its_points, record, where, trained, bar):
                rows += _rows(point, timing, describe(where))
    with replacing(out) as temporary, open(temporary, "w", newline="", encoding="utf-8") as stream:
        csv.writer(stream).writerows([COLUMNS, *rows])
    return out


def _timed(
    points: list[Point], record: "Record", where: torch.device, trained: TrainedRun | None, bar: "tqdm[Any]"
) -> Iterator[tuple[Point, Timing]]:
    """Yield a system's points with their times, known or measured now, but for those left out."""
    known: dict[int, float] = {}
    for point in points:
        side = point.image_size
        bar.set_postfix_str(f"{point.config.system} {side}×{side}")
        timing = record.get(point, trained)
        if timing is None:
            reason = _too_slow(side, known, record.settings.budget(point.config.system))
            if reason is None:
                try:
                    timing = measure(point, record.settings, where, trained)
                    record.put(point, timing)
                except torch.OutOfMemoryError:
                    reason = f"a batch of {point.batch_size} does not fit in the device's memory"
            if reason is not None:
                record.skip(point, reason)
        if timing is not None:
            known[side] = timing.median_seconds
            yield point, timing
        bar.update()


def _too_slow(side: int, known: dict[int, float], budget: float | None) -> str | None:
    predicted = predicted_seconds(side, known)
    if budget is None or predicted <= TOO_SLOW * budget:
        return None
    return f"one call would take about {predicted:.3g} s, over {TOO_SLOW} times the budget of {budget:g} s"


def _rows(point: Point, timing: Timing, device: str) -> list[list[Any]]:
    row = {**point.describe(), "sequential_steps": timing.sequential_steps, "device": device}
    repeats = [{**row, "repeat": k, "milliseconds": value} for k, value in enumerate(timing.milliseconds)]
    return [[repeat[column] for column in COLUMNS] for repeat in repeats]


class Record:
    """The JSON beside the CSV; a point is found again by the hash of all that its time depends on."""

    def __init__(self, path: Path, scale: str, settings: SamplingSpeed, on: dict[str, Any]):
        self.path = path
        self.head = {"scale": scale, "machine": on, "settings": settings.model_dump()}
        self.settings = settings
        self.points: dict[str, dict[str, Any]] = {}
        self.skipped: list[dict[str, Any]] = []
        if path.is_file():
            try:
                self.points = {kept["identity"]: kept for kept in read_json(path)["points"]}
            except (MarscfError, KeyError, TypeError):
                print(f"{path} is damaged: measuring afresh", file=sys.stderr)

    def _identity(self, point: Point) -> str:
        config, limits = point.config, [self.settings.repeats, self.settings.budget(point.config.system)]
        data = {"shape": config.data.shape, "grey_levels": config.data.grey_levels}
        model = {"model": config.model, "options": dict(config.options), "data": data}
        code = behind("sampling-speed", config.model)
        return digest([{**point.describe(), "model": model}, limits, self.head["machine"], code])[:16]

    def get(self, point: Point, trained: TrainedRun | None) -> Timing | None:
        """Return what was measured before, unless it was with weights that are no longer the run's."""
        kept = self.points.get(self._identity(point))
        if kept is None:
            return None
        timing = Timing(**{name: kept[name] for name in Timing.__dataclass_fields__})
        stale = timing.weights != ANY_WEIGHTS and timing.weights_sha256 != (trained and trained.sha256)
        return None if stale else timing

    def put(self, point: Point, timing: Timing) -> None:
        """Keep a point's timing, on disk."""
        identity = self._identity(point)
        self.points[identity] = {"identity": identity, **point.describe(), **asdict(timing)}
        self._write()

    def skip(self, point: Point, reason: str) -> None:
        """Say, on stderr and on disk, why a point is left out."""
        side = point.image_size
        tqdm.write(f"{point.config.system} at {side}×{side} is left out: {reason}", file=sys.stderr)
        self.skipped.append({"system": point.config.system, "image_size": side, "reason": reason})
        self._write()

    def _write(self) -> None:
        write_json(self.path, {**self.head, "skipped": self.skipped, "points": list(self.points.values())})
