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
from marscf.evaluation.extractors import load_extractor
from marscf.files import digest, replacing, seed_from, sha256_file
from marscf.models import WEIGHTS, load
from marscf.models.base import FlowModel
from marscf.runs import run_config
from marscf.studies.interpolation import Descent, Ends, describe_points, relax
from marscf.studies.scores import score_paths

LINEAR, OURS = METHODS = ("linear", "ours")
COLUMNS = ["pair", "method", "lambda", "point", "t", "log_prob_latent", "log_prob_image", "distance"]
PARTS = "interpolation-parts"
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


@torch.no_grad()
def exact_latents(model: FlowModel, images: Tensor) -> tuple[FlowModel, list[Tensor]]:
    """Return the model and the images' latents in a precision in which decoding gives the images back.

    Float32, or else float64. Raises `EvaluationError` where neither does.
    """
    for _ in range(2):
        latents = model.encode(images)
        wrong = (model.to_discrete(model.decode(latents)) != images).flatten(1).any(1)
        if not wrong.any():
            return model, latents
        model = model.double()
    raise EvaluationError(
        f"interpolation: {int(wrong.sum())} of {len(images)} test images do not come back from their "
        "latents, not even in float64: this flow's inverse is not exact enough"
    )


@torch.no_grad()
def latent_deviations(model: FlowModel, images: Tensor, batch_size: int) -> list[float]:
    """Return the standard deviation of the images' latents, one number a level."""
    levels = zip(*(model.encode(batch) for batch in images.split(batch_size)), strict=True)
    return [torch.cat(level).double().std().item() for level in levels]


def walk(
    model: FlowModel,
    images: Tensor,
    deviations: list[float],
    settings: Interpolation,
    lambdas: list[float],
    progress: Any,
) -> Walk:
    """Walk between pairs of images `(P,2,C,H,W) uint8`, by both methods, all points in one batch."""
    pairs, points, each = len(images), settings.points, len(lambdas)
    t = torch.linspace(0, 1, points, dtype=torch.float64, device=images.device)
    model, latents = exact_latents(model, images.flatten(0, 1))
    ends = Ends([level[0::2] for level in latents], [level[1::2] for level in latents], deviations)
    line = [level.unflatten(0, (pairs, 1, points)) for level in ends.line(t)]

    # The inner points of the line, once for each λ: (P, Λ, T-2, …) as one batch.
    inner = (pairs, each, points - 2)
    start = [level[:, :, 1:-1].repeat(1, each, 1, 1, 1, 1).flatten(0, 2) for level in line]
    weights = line[0].new_tensor(lambdas).view(1, -1, 1).expand(inner).flatten()
    descent = Descent(settings.iterations, settings.learning_rate, middle(settings.lambdas))
    moved = relax(model, start, ends.repeat(each * (points - 2)), weights, descent, progress)

    # The line, and with the moved points in its inner points' place: (P, 1+Λ, T, …).
    paths = [level.repeat(1, 1 + each, 1, 1, 1, 1) for level in line]
    for path, new in zip(paths, moved, strict=True):
        path[:, 1:, 1:-1] = new.unflatten(0, inner)
    layout = (pairs, 1 + each, points)
    flat = [path.flatten(0, 2) for path in paths]
    shown, numbers = describe_points(model, flat, ends.repeat((1 + each) * points))
    return Walk(shown.unflatten(0, layout).cpu().numpy(), numbers.unflatten(0, layout).cpu().numpy())


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
    images = torch.from_numpy(open_split(dataset, "test")[pairs.ravel()]).to(model.device)
    deviations = [1.0] * len(model.latent_shapes)
    if settings.distance == "standardised":
        deviations = latent_deviations(model, images, settings.batch_size)

    depends_on = [settings.model_dump(), sha256_file(folder / WEIGHTS), read_manifest(dataset)["digest"]]
    parts = folder / f"{PARTS}-{digest(depends_on)[:16]}"
    lambdas, drawn = sorted(settings.lambdas), middle(settings.lambdas)
    images = images.unflatten(0, (count, 2))
    shown, others = (
        _walk_in_parts(model, some, deviations, settings, with_lambdas, parts / name)
        for name, some, with_lambdas in (
            ("drawn", images[: settings.pairs], lambdas),
            ("scored", images[settings.pairs :], [drawn]),  # may be none
        )
    )
    both = shown.images[:, [0, 1 + lambdas.index(drawn)]]  # (P, 2, T, C, H, W)
    scored = np.concatenate([both, others.images])[: settings.score_pairs]

    t = np.linspace(0, 1, settings.points)
    written = [folder / f"interpolation{end}" for end in (".npz", ".csv", "_scores.csv")]
    with replacing(written[0]) as temporary:
        np.savez_compressed(temporary, images=both, t=t, pairs=pairs[: settings.pairs], methods=METHODS)
    _write_csv(written[1], COLUMNS, _rows(shown, t, lambdas))
    _write_csv(written[2], SCORE_COLUMNS, _scores(scored, t, fidelity.extractor, dataset, model))
    for stale in folder.glob(f"{PARTS}-*"):
        shutil.rmtree(stale)
    return written


def _scores(
    images: np.ndarray, t: np.ndarray, extractor: str, dataset: str, model: FlowModel
) -> Iterator[list[Any]]:
    if extractor == "none":
        return iter(())
    network = load_extractor(extractor, dataset, grey_levels=model.grey_levels, device=model.device)
    return score_paths(images, t, METHODS, network)


def _walk_in_parts(
    model: FlowModel,
    images: Tensor,
    deviations: list[float],
    settings: Interpolation,
    lambdas: list[float],
    folder: Path,
) -> Walk:
    """Walk all pairs `(P,2,C,H,W)`, `settings.batch_size` points at once; a part that is on disk stays."""
    size = max(1, settings.batch_size // (len(lambdas) * (settings.points - 2)))
    chunks = images.split(size) if len(images) else ()
    layout = (0, 1 + len(lambdas), settings.points)
    parts = [Walk(np.empty((*layout, *model.shape), np.uint8), np.empty((*layout, 3)))]
    bar = tqdm(total=len(chunks) * settings.iterations, desc=f"{folder.name} pairs", unit="step")

    def progress(gain: float) -> None:
        bar.set_postfix_str(f"log p(z) {gain:+.1f} nats", refresh=False)
        bar.update()

    with bar:
        for number, chunk in enumerate(chunks):
            path = folder / f"{number}.npz"
            if not path.is_file():
                part = walk(model, chunk, deviations, settings, lambdas, progress)
                with replacing(path) as temporary:
                    np.savez(temporary, images=part.images, numbers=part.numbers)
            bar.n = (number + 1) * settings.iterations
            with np.load(path, allow_pickle=False) as saved:
                parts.append(Walk(saved["images"], saved["numbers"]))
    return Walk(*(np.concatenate([getattr(part, key) for part in parts]) for key in ("images", "numbers")))


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
