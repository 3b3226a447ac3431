"""Which jobs run, how many are done, and the time left."""

import time
from collections import Counter, defaultdict
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from statistics import mean

from marscf.durations import in_words
from marscf.errors import MarscfError
from marscf.runs import run_config
from snakemake_logger_plugin_marscf.said import last_record

TRAINING = "train"
#: About how long a job of a rule takes, as a share of a training; until the first of its kind is done.
SHARES = {
    **{"likelihood": 0.3, "fidelity": 0.3, "interpolation": 3.0, "latents": 0.1, "sampling_speed": 1.0},
    **{"extractor": 0.3, "floor": 0.1, "sample": 0.1},
}
SECONDS = 5  # of a job of any other rule: starting Python and drawing
FEW = 0.02  # the share of a training that must be done before it tells how long it takes


@dataclass
class Job:
    """A job that runs."""

    rule: str
    wildcards: dict[str, str]
    output: list[str]
    logs: list[str]
    began: float = field(default_factory=time.monotonic)
    began_at: float = 0.0  # the share of a training that an earlier call had done

    @property
    def name(self) -> str:
        """Rule and wildcards but the scale: `train digits glow seed0`."""
        words = [f"seed{value}" if name == "seed" else value for name, value in self.wildcards.items()]
        return " ".join([self.rule, *(word for word in words if word != self.wildcards.get("scale"))])

    @property
    def seconds(self) -> float:
        """How long it has run."""
        return time.monotonic() - self.began

    @cached_property
    def steps(self) -> int | None:
        """How many steps a training has; None for another job."""
        if self.rule != TRAINING:
            return None
        try:
            return run_config(Path(self.output[0]).parent).training.steps
        except MarscfError:
            return None

    def at(self) -> tuple[int, str]:
        """The step that a training is at, and its bits/dim in words."""
        record = last_record(Path(self.output[0]).parent) if self.steps else None
        if record is None:
            return 0, ""
        bits = record.get("train_bits_per_dim", record.get("validation_bits_per_dim"))
        return record["step"], "" if bits is None else f"{bits:.3f} bits/dim"

    def whole(self) -> float | None:
        """How long a training takes in all, by what is done of it; None where that is too little."""
        if not self.steps:
            return None
        share = self.at()[0] / self.steps - self.began_at
        return self.seconds * (1 - self.began_at) / share if share > FEW else None


class Jobs:
    """All jobs of a call of Snakemake."""

    def __init__(self) -> None:
        self.done, self.total = 0, 0
        self.running: dict[int, Job] = {}
        self._expected: Counter[str] = Counter()
        self._seconds: defaultdict[str, list[float]] = defaultdict(list)
        self._at_once = 1

    def expect(self, stats: dict[str, int]) -> None:
        """Note the jobs of each rule."""
        self._expected = Counter({rule: count for rule, count in stats.items() if rule != "total"})
        self.total = self.total or self._expected.total()

    def begin(self, number: int, job: Job) -> None:
        """Note a job that begins."""
        if job.steps:
            job.began_at = job.at()[0] / job.steps
        self.running[number] = job
        self._at_once = max(self._at_once, len(self.running))

    def end(self, number: int, failed: bool = False) -> Job | None:
        """Forget a job that ends, and return it."""
        job = self.running.pop(number, None)
        if job and not failed:
            self._seconds[job.rule].append(job.seconds)
        return job

    def counted(self) -> str:
        """`12 of 112 done`."""
        return f"{self.done} of {self.total} done"

    def told(self) -> str:
        """`12 of 112 done, about 6 min left`."""
        left = self.left()
        return self.counted() + (f", about {in_words(left)} left" if left else "")

    def left(self) -> float | None:
        """About how many seconds are left; None while nothing tells how long one of its jobs takes."""
        waiting = self._expected - Counter({rule: len(done) for rule, done in self._seconds.items()})
        waiting -= Counter(job.rule for job in self.running.values())
        wholes = [whole for job in self.running.values() if (whole := job.whole())]
        training = [*self._seconds[TRAINING], *wholes]
        usual = {rule: mean(seconds) for rule, seconds in self._seconds.items() if seconds}
        if training:
            one = usual[TRAINING] = mean(training)
            usual = {rule: share * one for rule, share in SHARES.items()} | usual
        unknown = {*waiting, *(job.rule for job in self.running.values())} - usual.keys()
        if unknown & {TRAINING, *SHARES}:
            return None

        def takes(rule: str) -> float:
            return usual.get(rule, SECONDS)

        jobs = [takes(rule) for rule in waiting.elements()]
        jobs += [max(0.0, (job.whole() or takes(job.rule)) - job.seconds) for job in self.running.values()]
        return max([*jobs, sum(jobs) / self._at_once])
