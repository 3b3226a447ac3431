"""The interpolation study of one run: λ is chosen on validation pairs, test pairs are walked with it.

λ (= λ1 = λ2) is the one whose images score highest on the validation pairs: by the Inception score of the
scale's extractor, the mean over the interior t. Of equal scores the smaller λ is chosen; λ = 0, the straight
line, is among them. Where it is chosen, the smallest other λ is shown. A scale without an extractor takes the
middle λ. The other ways to count density are walked on the validation pairs too, for comparison alone.
"""

import csv
import io
import shutil
from collections.abc import Iterator, Mapping
from dataclasses import astuple
from pathlib import Path
from typing import Any, get_args

import numpy as np
import torch

from marscf.code import behind
from marscf.config import Fidelity, Interpolation, load_config
from marscf.data.arrays import open_split, read_manifest
from marscf.devices import choose_device
from marscf.errors import ConfigError, EvaluationError
from marscf.evaluation.extractors import Extractor, load_extractor
from marscf.evaluation.measurements import trial
from marscf.files import digest, replacing, sha256_file
from marscf.models import WEIGHTS, load
from marscf.models.base import FlowModel
from marscf.runs import Run
from marscf.studies import scores
from marscf.studies.interpolation import NUMBERS, Density
from marscf.studies.interpolation_pairs import REFERENCE, choose_pairs, measure_units
from marscf.studies.interpolation_walk import LINE, Choice, Walk, middle, walk_all

WAY = ["split", "density", "lambda"]
COLUMNS = [*WAY, "pair", "point", "t", *NUMBERS]
SCORE_COLUMNS = [*WAY, *scores.COLUMNS]
METHODS = ("linear", "moved")  # of the images that are kept
PARTS = "interpolation-parts"


def settings_of(run: Run) -> tuple[Interpolation, Fidelity]:
    """Return a run's settings: its scale's entry for the dataset and system, else the defaults."""
    default = Interpolation(dataset=run.dataset, system=run.system)
    config = load_config()
    scale = config.scales.get(run.scale)
    if scale is None:
        return default, Fidelity(extractor="none")
    chosen = (e for e in scale.studies.interpolation if (e.dataset, e.system) == (run.dataset, run.system))
    return next(chosen, default), scale.evaluation_on(config.datasets.get(run.dataset)).fidelity


def limited(settings: Interpolation, images: int | None) -> Interpolation:
    """Return the settings with fewer pairs, so that each split's paths have at most so many moved images.

    Two test pairs are the fewest, as their error needs them. Where there are not two validation pairs for all
    the choices, there are none, and the middle λ is taken.
    """
    if images is None:
        return settings
    paths = images // (settings.points - 2)
    validation = min(paths // len(all_choices(settings)), settings.validation_pairs)
    tests = max(paths, 2)
    changes = {
        "pairs": min(settings.pairs, tests),
        "score_pairs": min(settings.score_pairs, tests),
        "validation_pairs": validation if validation > 1 else 0,
    }
    return settings.model_copy(update=changes)


def choose(rows: list[list[Any]], settings: Interpolation) -> Choice:
    """Return the choice with the highest mean score among `SCORE_COLUMNS` rows of the validation pairs.

    Of those with the settings' density and the straight line; see the module. No rows: the middle λ.
    """
    by_name = [dict(zip(SCORE_COLUMNS, row, strict=True)) for row in rows]
    means = {Choice(row["density"], row["lambda"]): row["value"] for row in by_name if row["t"] == ""}
    ours = {choice: value for choice, value in means.items() if choice in (LINE, *choices(settings))}
    if not ours:
        return Choice(settings.density, middle(settings.lambdas))
    return min(ours, key=lambda choice: (-ours[choice], choice.weight))


def choices(settings: Interpolation, density: Density | None = None) -> list[Choice]:
    """Return the ways to walk off the line with one count of density, the settings' unless given."""
    return [Choice(density or settings.density, value) for value in sorted(settings.lambdas)]


def all_choices(settings: Interpolation) -> list[Choice]:
    """Return the ways off the line that validation pairs are walked in."""
    return [way for density in get_args(Density) for way in choices(settings, density)]


class Study:
    """The walks of one run, collected for its three files."""

    def __init__(self, folder: Path, device: str, images: int | None, scored: bool, as_trial: bool):
        run = Run.from_path(folder)
        self.dataset = run.dataset
        settings, fidelity = settings_of(run)
        self.settings = limited(settings, images)
        model = load(folder, choose_device(device))
        if not isinstance(model, FlowModel):
            raise ConfigError(f"{run.system} has no latents to interpolate; choose the run of a flow")
        self.model = model.requires_grad_(False)
        self.network: Extractor | None = None
        if scored and fidelity.extractor != "none":
            self.network = load_extractor(
                fidelity.extractor, self.dataset, grey_levels=model.grey_levels, device=model.device
            )
        of_units = min(REFERENCE, images or REFERENCE)
        self.units = measure_units(model, self.dataset, self.settings.batch_size, of_units)
        self.t = np.linspace(0, 1, self.settings.points)
        weights, data = sha256_file(folder / WEIGHTS), read_manifest(self.dataset)["digest"]
        depends_on = [self.settings.model_dump(), of_units, weights, data, behind("interpolate", type(model))]
        parts = folder / f"{PARTS}-{digest(depends_on)[:16]}"
        self.parts = trial(parts) if as_trial else parts
        self.points: list[list[Any]] = []
        self.scores: list[list[Any]] = []

    def measure(self, split: str, count: int, ways: list[Choice]) -> tuple[np.ndarray, dict[Choice, Walk]]:
        """Walk between `count` pairs of a split in each way, and note points and scores."""
        pairs = choose_pairs(self.dataset, split, count)
        images = torch.from_numpy(open_split(self.dataset, split)[pairs.ravel()]).to(self.model.device)
        pairwise, parts = images.unflatten(0, pairs.shape), self.parts / split
        found = walk_all(self.model, pairwise, self.units, ways, self.settings, parts)
        self.points.extend(_points(split, found, self.t))
        self.scores.extend(_scores(split, found, self.t, self.network))
        return pairs, found


def interpolate_run(
    folder: str | Path,
    device: str = "auto",
    images: int | None = None,
    scored: bool = True,
    report: bool = False,
) -> list[Path]:
    """Make a run's `interpolation.npz`, `.csv` and `_scores.csv`; return their paths.

    `images` limits the pairs, see `limited`. Where nothing is `scored`, λ is the middle one. Either makes a
    trial of it, in files beside, unless it is for the `report`. Raises `ConfigError` for a model that has no
    latents.
    """
    folder = Path(folder)
    as_trial = not report and (images is not None or not scored)
    study = Study(folder, device, images, scored, as_trial)
    settings = study.settings
    if settings.validation_pairs:
        study.measure("val", settings.validation_pairs, [LINE, *all_choices(settings)])
    chosen = choose(study.scores, settings)
    shown = choices(settings)[0] if chosen == LINE else chosen
    pairs, walks = study.measure("test", max(settings.pairs, settings.score_pairs), [LINE, shown])

    written = [folder / f"interpolation{end}" for end in (".npz", ".csv", "_scores.csv")]
    if as_trial:
        written = list(map(trial, written))
    with replacing(written[0]) as temporary:
        np.savez_compressed(
            temporary,
            images=np.stack([walks[way].images[: settings.pairs] for way in (LINE, shown)], axis=1),
            t=study.t,
            pairs=pairs[: settings.pairs],
            methods=np.array(METHODS),
            objective=np.array(settings.objective),
            density=np.array(shown.density),
            shown=np.array(shown.weight),
            chosen=np.array(chosen.weight),
        )
    _write_csv(written[1], COLUMNS, study.points)
    _write_csv(written[2], SCORE_COLUMNS, study.scores)
    for finished in folder.glob(f"{study.parts.name.rpartition('-')[0]}-*"):  # a trial leaves the others
        shutil.rmtree(finished)
    return written


def _points(split: str, walks: Mapping[Choice, Walk], t: np.ndarray) -> Iterator[list[Any]]:
    for way, walked in walks.items():
        if not np.isfinite(walked.numbers).all():
            raise EvaluationError(f"interpolation ({way}): a number is not finite; nothing was written")
        for pair, by_point in enumerate(walked.numbers):
            for point, numbers in enumerate(by_point):
                yield [split, *astuple(way), pair, point, t[point], *numbers]


def _scores(
    split: str, walks: Mapping[Choice, Walk], t: np.ndarray, network: Extractor | None
) -> Iterator[list[Any]]:
    if network is None:
        return
    images = {way: walked.images for way, walked in walks.items()}
    for way, row in scores.score_paths(images, t, network):
        yield [split, *astuple(way), *row]


def _write_csv(path: Path, columns: list[str], rows: list[list[Any]]) -> None:
    text = io.StringIO(newline="")
    csv.writer(text).writerows([columns, *rows])
    with replacing(path) as temporary:
        temporary.write_text(text.getvalue(), encoding="utf-8")
