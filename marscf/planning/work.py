"""What is left to do at a scale: steps, images to score and to draw, files to make. Counted, not timed."""

import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from marscf.config import Config, Dataset, Evaluation, Scale, resolve
from marscf.data.arrays import read_manifest
from marscf.data.sources import Store
from marscf.errors import ConfigError, DataError, MarscfError, nearest
from marscf.evaluation.likelihood import TRAINING_IMAGES
from marscf.evaluation.measured import read_measurements
from marscf.files import read_json
from marscf.reporting.catalogue import planned
from marscf.reporting.catalogue.product import Plan, judged
from marscf.runs import DATASETS, FINISHED, RECEIPT, Run, identity
from marscf.settings import RunConfig

#: Images of a dataset that is not prepared and does not say how many it has.
ASSUMED = {"train": 50_000, "val": 5_000, "test": 10_000}


@dataclass(frozen=True)
class Left:
    """What is left to do for one run."""

    run: Run
    config: RunConfig
    evaluation: Evaluation
    steps: int  # of training
    validated: int  # validation images still to be scored, over all validations
    scored: int  # likelihoods of one image with one draw, if the model takes noise
    scored_once: int  # and if it takes none
    drawn: int  # samples for the fidelity
    grid: int  # samples to look at
    fidelity: bool  # whether it is still to be measured
    walked: int  # steps of images in the interpolation

    @property
    def done(self) -> bool:
        """Whether nothing is left."""
        return not (self.steps or self.scored or self.fidelity or self.grid or self.walked)


@dataclass(frozen=True)
class Selection:
    """A scale, narrowed to some systems and datasets."""

    config: Config
    scale: Scale
    runs: dict[str, RunConfig]  # folder -> config

    @property
    def plan(self) -> Plan:
        """The same, as the catalogue of tables and figures sees it."""
        return Plan(self.scale, self.runs)


def select(
    config: Config, scale: str, systems: Sequence[str] | None = None, datasets: Sequence[str] | None = None
) -> Selection:
    """Return the runs of a scale; raises `ConfigError` for unknown names, and where nothing is trained."""
    chosen = config.scale(scale)
    if chosen.published:
        raise ConfigError(f"scale {scale} trains nothing; docs/published.md says what it takes")
    for kind, names, known in (
        ("dataset", datasets, chosen.datasets),
        ("system", systems, list(config.systems)),
    ):
        for name in names or ():
            if name not in known:
                raise ConfigError(f"no {kind} {name!r} at scale {scale}{nearest(name, known)}")
    wanted = systems or config.systems_of(scale)
    runs = [
        Run(scale, dataset, system, seed)
        for dataset in chosen.datasets
        if not datasets or dataset in datasets
        for system in config.systems
        if system in wanted
        for seed in config.seeds(scale, system)
    ]
    return Selection(
        config,
        chosen,
        {str(run.path): resolve(config, scale, run.dataset, run.system, run.seed) for run in runs},
    )


def counts(dataset: Dataset) -> tuple[dict[str, int], bool]:
    """Return how many images each split has, and whether that is known: prepared, or said by its file."""
    try:
        splits = read_manifest(dataset.name)["splits"]
        return {split: entry["count"] for split, entry in splits.items()}, True
    except DataError:
        pass
    for release in dataset.releases.values():
        val = dataset.validation
        return {"train": release.images["train"] - val, "val": val, "test": release.images["test"]}, True
    return ASSUMED, False


def left(selection: Selection) -> list[Left]:
    """Return what is left to do for each run."""
    plan = selection.plan
    interpolated, compared = plan.interpolated(), set(judged(plan))
    found = []
    for path, config in selection.runs.items():
        run, folder, settings = Run.from_path(path), Path(path), config.training
        dataset = selection.config.dataset(run.dataset)
        number, evaluation = counts(dataset)[0], selection.scale.evaluation_on(dataset)
        steps = steps_left(folder, config)
        trained = steps == 0
        validations = -(-steps // settings.validate_every)
        of_each = min(settings.validation_images, number["val"])
        images = min(evaluation.images or number["test"], number["test"])
        score = not (trained and measured(folder / "likelihood.json", run))
        fidelity = path in compared and not (trained and measured(folder / "fidelity.json", run))
        passes = max(evaluation.draws, evaluation.importance_samples)
        some = min(TRAINING_IMAGES, images)
        study = interpolated.get(path)
        walk = study is not None and not (trained and (folder / "interpolation.npz").is_file())
        found.append(
            Left(
                run,
                config,
                evaluation,
                steps=steps,
                validated=validations * of_each,
                scored=(images * passes + some * evaluation.draws) * score,
                scored_once=(images + some) * score,
                drawn=evaluation.fidelity.samples * fidelity,
                grid=evaluation.grid * (not (trained and (folder / "samples.npy").is_file())),
                fidelity=fidelity,
                walked=_walked(study) if walk and study else 0,
            )
        )
    return found


def _walked(study: Any) -> int:
    """How often an image is moved: in every pair, at every point between its ends, in every iteration."""
    ways = 3 * len(study.lambdas)  # density counted in three ways, see marscf/studies/interpolation_study.py
    pairs = study.validation_pairs * ways + max(study.pairs, study.score_pairs)
    return pairs * (study.points - 2) * study.iterations


def steps_left(folder: Path, config: RunConfig) -> int:
    """Return how many training steps are left: none of a finished run, all but the saved ones of another."""
    for name in (FINISHED, RECEIPT):
        try:
            receipt = read_json(folder / name)
            if receipt["config_hash"] == identity(folder, config) and _same_data(receipt, config.dataset):
                return 0
        except (MarscfError, KeyError, TypeError):
            continue
    saved = [
        int(found[1]) for path in folder.glob("state-*.pt") if (found := re.search(r"-(\d+)", path.name))
    ]
    finished = (folder / FINISHED).is_file()  # its states are of a config that is no more
    return config.training.steps - (0 if finished else min(max(saved, default=0), config.training.steps - 1))


def _same_data(receipt: dict[str, Any], dataset: str) -> bool:
    try:
        return bool(receipt["data_digest"] == read_manifest(dataset)["digest"])
    except DataError:  # it is not prepared here: after a pull the run stands
        return True


def measured(path: Path, run: Run) -> bool:
    """Whether a measurement of a run stands: of the weights and data that it has now."""
    try:
        read_measurements(path, run)
    except MarscfError:
        return False
    return True


def drawings(selection: Selection) -> int:
    """Return how many tables and figures there are; they are drawn again after any measurement."""
    return len(planned(selection.plan))


def to_download(dataset: Dataset, mirror: str | None) -> int:
    """Return how many bytes of a dataset's sources are not on this machine; 0 for one that is prepared."""
    if dataset.own or (DATASETS / dataset.name / "manifest.json").is_file():
        return 0
    store = Store(DATASETS.parent / "sources", mirror)
    release = next(iter(dataset.releases.values()), None)
    sources = release.sources if release else dataset.sources
    folder = dataset.mirror_name or dataset.name
    return sum(source.bytes or 0 for source in sources.values() if not store.at_hand(folder, source))
