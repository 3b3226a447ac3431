"""The interpolation study of one run: pairs of test images, both paths, their densities and scores."""

import csv
import io
import shutil
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor
from tqdm import tqdm

from marscf.config import Fidelity, Interpolation, load_config
from marscf.data.arrays import open_labels, open_split, read_manifest
from marscf.devices import choose_device
from marscf.errors import ConfigError, DataError, EvaluationError
from marscf.files import digest, replacing, seed_from, sha256_file
from marscf.models import WEIGHTS, load
from marscf.models.base import FlowModel
from marscf.runs import run_config
from marscf.studies.interpolation import Descent, describe_points, relax, straight
from marscf.studies.scores import classifier, score_paths

LINEAR, OURS = METHODS = ("linear", "ours")
COLUMNS = ["pair", "method", "lambda", "point", "t", "log_prob_latent", "log_prob_image", "distance"]
SCORE_COLUMNS = ["method", "t", "metric", "value", "stderr", "n", "protocol"]


@dataclass(frozen=True)
class Walk:
    """Both paths of some pairs: the straight line, then ours with each λ, all at the same T points."""

    images: np.ndarray  # uint8 (P, 1+Λ, T, C, H, W)
    numbers: np.ndarray  # float64 (P, 1+Λ, T, 3): log p(z), log p(y) in nats, squared distance


def settings_of(config: dict[str, Any]) -> tuple[Interpolation, Fidelity]:
    """Return a run's settings: its scale's entry for the dataset and system, else the defaults."""
    scale = load_config().scales.get(config["scale"])
    names = {"dataset": config["dataset"], "system": config["system"]}
    entries = scale.studies.interpolation if scale else []
    chosen = [entry for entry in entries if (entry.dataset, entry.system) == tuple(names.values())]
    fidelity = scale.evaluation.fidelity if scale else Fidelity(extractor="none")
    return (chosen[0] if chosen else Interpolation(**names)), fidelity


def choose_pairs(dataset: str, count: int) -> np.ndarray:
    """Return `count` pairs of different test images, indices `(count,2)`, the same for every system.

    Drawn by a seed of the dataset's name, without replacement; of two classes each where the classes are
    known. Raises `ConfigError` where the test set is too small.
    """
    try:
        classes = np.asarray(open_labels(dataset, "test"))
    except DataError:
        classes = np.arange(len(open_split(dataset, "test")))  # each image a class of its own
    order = list(np.random.default_rng(seed_from("interpolation", dataset)).permutation(len(classes)))
    pairs: list[tuple[int, int]] = []
    while len(pairs) < count:
        first = order.pop() if order else None
        second = next((i for i in reversed(order) if classes[i] != classes[first]), None)
        if second is None:
            raise ConfigError(
                f"interpolation: the {len(classes)} test images of {dataset} make only {len(pairs)} pairs of "
                f"two classes, {count} are asked for; lower studies.interpolation.pairs and score_pairs"
            )
        order.remove(second)
        pairs.append((first, second))
    return np.array(pairs)


def exact_latents(model: FlowModel, images: Tensor) -> tuple[FlowModel, list[Tensor]]:
    """Return the model and the images' latents in a precision in which decoding gives the images back.

    Float32, or else float64. Raises `EvaluationError` where neither does.
    """
    for _ in range(2):
        with torch.no_grad():
            latents = model.encode(images)
            wrong = (model.to_discrete(model.decode(latents)) != images).flatten(1).any(1)
        if not wrong.any():
            return model, latents
        model = model.double()
    raise EvaluationError(
        f"interpolation: {int(wrong.sum())} of {len(images)} test images do not come back from their "
        "latents, not even in float64: this flow's inverse is not exact enough"
    )


def walk(
    model: FlowModel, ends: Tensor, settings: Interpolation, lambdas: list[float], progress: Any
) -> Walk:
    """Walk between pairs of images `ends (P,2,C,H,W) uint8`, by both methods, all points in one batch."""
    pairs, points = len(ends), settings.points
    t = torch.linspace(0, 1, points, dtype=torch.float64, device=ends.device)
    model, latents = exact_latents(model, ends.flatten(0, 1))
    first, second = [level[0::2] for level in latents], [level[1::2] for level in latents]
    line = straight(first, second, t)

    # The inner points of the line, once for each λ: (P, Λ, T-2, …) as one batch.
    inner, each = points - 2, len(lambdas)

    def repeated(level: Tensor) -> Tensor:
        cut = level.unflatten(0, (pairs, points))[:, None, 1:-1]
        return cut.expand(-1, each, *cut.shape[2:]).flatten(0, 2)

    weights = torch.tensor(lambdas, dtype=line[0].dtype, device=ends.device)
    weights = weights.view(1, -1, 1).expand(pairs, each, inner).flatten()
    first_each, second_each = (
        [level.repeat_interleave(each * inner, dim=0) for level in end] for end in (first, second)
    )
    descent = Descent(settings.iterations, settings.learning_rate, middle(settings.lambdas))
    moved = relax(
        model, [repeated(level) for level in line], first_each, second_each, weights, descent, progress
    )

    # Put the moved points in the line's place, between its ends: (P, 1+Λ, T, …).
    paths = []
    for level, new in zip(line, moved, strict=True):
        whole = level.unflatten(0, (pairs, 1, points)).repeat(1, 1 + each, 1, 1, 1, 1)
        whole[:, 1:, 1:-1] = new.unflatten(0, (pairs, each, inner))
        paths.append(whole.flatten(0, 2))
    copies = (1 + each) * points
    first_all, second_all = (
        [level.repeat_interleave(copies, dim=0) for level in end] for end in (first, second)
    )
    images, numbers = describe_points(model, paths, first_all, second_all)
    layout = (pairs, 1 + each, points)
    return Walk(images.unflatten(0, layout).cpu().numpy(), numbers.unflatten(0, layout).cpu().numpy())


def middle(lambdas: list[float]) -> float:
    """Return the λ that is drawn, which is λ2 too."""
    return sorted(lambdas)[len(lambdas) // 2]


def interpolate_run(folder: str | Path, device: str = "auto") -> list[Path]:
    """Make a run's `interpolation.npz`, `.csv` and `_scores.csv`; return their paths.

    Raises `ConfigError` for a model that has no latents.
    """
    folder = Path(folder)
    config = run_config(folder)
    settings, fidelity = settings_of(config)
    model = load(folder, str(choose_device(device)))
    if not isinstance(model, FlowModel):
        raise ConfigError(f"{config['system']} has no latents to interpolate; choose the run of a flow")
    model.requires_grad_(False)
    dataset, count = config["dataset"], max(settings.pairs, settings.score_pairs)
    pairs = choose_pairs(dataset, count)
    images = open_split(dataset, "test")
    ends = torch.from_numpy(images[pairs.ravel()]).unflatten(0, (count, 2)).to(model.device)

    identity = digest(
        [settings.model_dump(), sha256_file(folder / WEIGHTS), read_manifest(dataset)["digest"]]
    )[:16]
    parts = folder / f"interpolation-parts-{identity}"
    drawn = _walk_in_parts(model, ends[: settings.pairs], settings, sorted(settings.lambdas), parts, "drawn")
    centre = [middle(settings.lambdas)]
    others = _walk_in_parts(model, ends[settings.pairs :], settings, centre, parts, "scored")

    ours = 1 + sorted(settings.lambdas).index(centre[0])
    shown = drawn.images[:, [0, ours]]
    scored = shown if others is None else np.concatenate([shown, others.images])
    t = np.linspace(0, 1, settings.points)
    written = [folder / f"interpolation{end}" for end in (".npz", ".csv", "_scores.csv")]
    with replacing(written[0]) as temporary:
        np.savez_compressed(temporary, images=shown, t=t, pairs=pairs[: settings.pairs], methods=METHODS)
    _write_csv(written[1], COLUMNS, _rows(drawn, t, sorted(settings.lambdas)))
    scores = _scores(scored[: settings.score_pairs], t, fidelity.extractor, dataset, model)
    _write_csv(written[2], SCORE_COLUMNS, scores)
    for stale in folder.glob("interpolation-parts-*"):
        shutil.rmtree(stale)
    return written


def _scores(
    images: np.ndarray, t: np.ndarray, extractor: str, dataset: str, model: FlowModel
) -> Iterator[list[Any]]:
    if extractor == "none":
        return iter(())
    classify, card = classifier(extractor, dataset, model.grey_levels, model.device)
    return score_paths(images, t, METHODS, classify, extractor, card)


def _walk_in_parts(
    model: FlowModel,
    ends: Tensor,
    settings: Interpolation,
    lambdas: list[float],
    parts: Path,
    name: str,
) -> Walk | None:
    """Walk all pairs, `settings.batch_size` points at once; each part is a file, and is not made again."""
    if not len(ends):
        return None
    size = max(1, settings.batch_size // (len(lambdas) * (settings.points - 2)))
    done = []
    chunks = list(enumerate(ends.split(size)))
    with tqdm(total=len(chunks) * settings.iterations, desc=f"{name} pairs", unit="step") as bar:
        for number, chunk in chunks:
            path = parts / f"{name}-{number}.npz"
            if not path.is_file():

                def progress(gain: float) -> None:
                    bar.update()
                    bar.set_postfix_str(f"log p(z) {gain:+.1f} nats")

                part = walk(model, chunk, settings, lambdas, progress)
                with replacing(path) as temporary:
                    np.savez(temporary, images=part.images, numbers=part.numbers)
            bar.n = (number + 1) * settings.iterations
            bar.refresh()
            with np.load(path, allow_pickle=False) as saved:
                done.append(Walk(saved["images"], saved["numbers"]))
    return Walk(*(np.concatenate([getattr(part, key) for part in done]) for key in ("images", "numbers")))


def _rows(walked: Walk, t: np.ndarray, lambdas: list[float]) -> Iterator[list[Any]]:
    if not np.isfinite(walked.numbers).all():
        raise EvaluationError("interpolation: a log-density is not finite; nothing was written")
    methods = [(LINEAR, 0.0), *((OURS, value) for value in lambdas)]
    for pair, by_method in enumerate(walked.numbers):
        for (method, value), by_point in zip(methods, by_method, strict=True):
            for point, numbers in enumerate(by_point):
                yield [pair, method, value, point, t[point], *numbers]


def _write_csv(path: Path, columns: list[str], rows: Iterator[list[Any]]) -> None:
    text = io.StringIO(newline="")
    csv.writer(text).writerows([columns, *rows])
    with replacing(path) as temporary:
        temporary.write_text(text.getvalue())
