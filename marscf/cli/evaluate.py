"""`marscf evaluate likelihood|fidelity|extractor|floor`: measure runs and datasets."""

import argparse
import sys
from pathlib import Path
from typing import TYPE_CHECKING

from marscf.devices import HELP, choose_device
from marscf.errors import ConfigError, EvaluationError
from marscf.files import sha256_file
from marscf.runs import Run, run_config

if TYPE_CHECKING:
    from marscf.config import Evaluation, Fidelity
    from marscf.evaluation.extractors import Extractor

REAL = "real"  # the system that the floor is said to be of
RUN_HELP = "data/runs/<scale>/<dataset>/<system>/seed<k>"


def configure(parser: argparse.ArgumentParser) -> None:
    """Add the subcommands of `marscf evaluate`."""
    parser.epilog = (
        "examples:\n"
        "  marscf evaluate likelihood data/runs/quick/digits/glow/seed0\n"
        "  marscf evaluate likelihood data/runs/paper/cifar10/glow/seed0 --draws 1 --images 1000\n"
        "  marscf evaluate extractor digits\n"
        "  marscf evaluate fidelity data/runs/quick/digits/glow/seed0 --samples 500\n"
        "  marscf evaluate fidelity RUN --extractor inception --inception-weights FILE\n"
        "  marscf evaluate floor data/runs/quick/digits"
    )
    stages = parser.add_subparsers(dest="measure", required=True, metavar="MEASURE")
    likelihood = _stage(
        stages,
        "likelihood",
        "bits/dim and nats of the test images -> RUN/likelihood.json, likelihood.npz",
        run_likelihood,
    )
    likelihood.add_argument("run_path", metavar="RUN", help=RUN_HELP)
    likelihood.add_argument("--draws", type=positive, metavar="R", help="noise draws averaged an image")
    likelihood.add_argument(
        "--importance-samples", type=whole, metavar="K", help="of the importance-weighted bound; 0: none"
    )
    likelihood.add_argument("--images", type=positive, metavar="N", help="only the first N test images")
    likelihood.add_argument("--batch-size", type=positive, metavar="B", help="images a batch")

    fidelity = _stage(
        stages,
        "fidelity",
        "FID, KID, Inception score, precision and recall of samples -> RUN/fidelity.json",
        run_fidelity,
    )
    fidelity.add_argument("run_path", metavar="RUN", help=RUN_HELP)
    fidelity.add_argument("--batch-size", type=positive, metavar="B", help="samples drawn at once")
    fidelity.add_argument("--temperature", type=float, default=1.0, help="of the samples (default: 1)")
    floor = _stage(
        stages,
        "floor",
        "the same of real images against real images -> FOLDER/floor.json: what a perfect model would get",
        run_floor,
    )
    floor.add_argument("folder", metavar="FOLDER", help="data/runs/<scale>/<dataset>")
    for stage in (fidelity, floor):
        stage.add_argument("--extractor", choices=["inception", "digits-net", "none"])
        stage.add_argument("--samples", type=positive, metavar="N", help="images compared")
        stage.add_argument("--reference", choices=["train", "train+val", "test"], help="the real images")
        stage.add_argument("--inception-weights", metavar="FILE", help="default: $MARSCF_INCEPTION")
        stage.add_argument("--mirror", help="holds inception/<file> (default: $MARSCF_MIRROR)")
        stage.add_argument(
            "--offline", action="store_true", default=None, help="never download (default: $MARSCF_OFFLINE)"
        )
    extractor = _stage(
        stages,
        "extractor",
        "train digits-net on a dataset -> data/extractors/digits-net/DATASET/",
        run_extractor,
    )
    extractor.add_argument("dataset", metavar="DATASET", help="a prepared dataset with labels")


def _stage(stages, name: str, help_line: str, function) -> argparse.ArgumentParser:
    stage = stages.add_parser(
        name,
        help=help_line,
        description=f"{help_line}\nWhat is not given comes from the `evaluation` section of the scale.",
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    stage.add_argument("--device", default="auto", help=HELP)
    stage.add_argument("--seed", type=whole, default=0, help="of the measurement's own noise (default: 0)")
    stage.add_argument("--debug", action="store_true", default=argparse.SUPPRESS, help=argparse.SUPPRESS)
    stage.set_defaults(stage=function)
    return stage


def positive(text: str) -> int:
    """Parse an integer of at least 1."""
    if (value := int(text)) < 1:
        raise argparse.ArgumentTypeError(f"{text} is not at least 1")
    return value


def whole(text: str) -> int:
    """Parse an integer of at least 0."""
    if (value := int(text)) < 0:
        raise argparse.ArgumentTypeError(f"{text} is negative")
    return value


def run(args: argparse.Namespace) -> None:
    """Run the subcommand."""
    args.stage(args)


def run_likelihood(args: argparse.Namespace) -> None:
    """Measure bits/dim, and write RUN/likelihood.json and, image by image, RUN/likelihood.npz."""
    from marscf import load
    from marscf.data.arrays import open_split, read_manifest
    from marscf.evaluation.likelihood import evaluate_likelihood, kept_scores, likelihood_measurements
    from marscf.evaluation.measurements import (
        PerImage,
        table,
        weights_hash,
        write_measurements,
        write_per_image,
    )
    from marscf.evaluation.stream import discard

    path = Path(args.run_path)
    names, config, settings = Run.from_path(path), run_config(path), settings_of(path)
    model = load(path, choose_device(args.device))
    images = open_split(config.dataset, "test")
    chosen = args.images or settings.images or len(images)
    if chosen > len(images):
        raise EvaluationError(f"images: {chosen} were asked for, {config.dataset} has {len(images)}")
    importance = args.importance_samples
    how = {
        "draws": args.draws or settings.draws,
        "importance_samples": settings.importance_samples if importance is None else importance,
        "batch_size": args.batch_size or settings.batch_size,
        "seed": args.seed,
    }
    weights, data = weights_hash(path), read_manifest(config.dataset)["digest"]
    kept = kept_scores(model, weights=weights, data=data, count=chosen, device=args.device, **how)
    result = evaluate_likelihood(model, images[:chosen], **how, kept=kept, progress=sys.stderr.isatty())
    dims = config.data.dims
    entries = likelihood_measurements(result, model, dims=dims, available=len(images), seed=args.seed)
    write_per_image(path, PerImage(result.bound, dims, data))
    write_measurements(path / "likelihood.json", names, entries, weights_sha256=weights)
    discard(kept)
    print(table(entries))


def run_extractor(args: argparse.Namespace) -> None:
    """Train digits-net on a dataset."""
    from marscf.evaluation.digits_net import ROOT, train_extractor

    receipt = train_extractor(args.dataset, choose_device(args.device), progress=sys.stderr.isatty())
    print(f"{ROOT / args.dataset}: test accuracy {receipt['test_accuracy']:.4f}, {receipt['steps']} steps")


def run_fidelity(args: argparse.Namespace) -> None:
    """Compare a run's samples with real images, and write RUN/fidelity.json."""
    import numpy as np

    from marscf import load
    from marscf.evaluation.fidelity import compare, extract, reference_images
    from marscf.evaluation.measurements import table, weights_hash, write_measurements
    from marscf.evaluation.sampling import draw_samples

    path, progress = Path(args.run_path), sys.stderr.isatty()
    names, dataset, settings = (
        Run.from_path(path),
        run_config(path).dataset,
        _fidelity_settings(args, path),
    )
    if not 0 < args.temperature < float("inf"):
        raise ConfigError(f"--temperature {args.temperature}: must be above 0")
    entries, weights = [], weights_hash(path)
    if extractor := _extractor(args, settings, dataset):
        model = load(path, choose_device(args.device))
        real, real_identity, real_card = reference_images(dataset, settings.reference)
        drawn = draw_samples(
            model,
            weights,
            settings.samples,
            batch_size=settings.batch_size,
            seed=args.seed,
            temperature=args.temperature,
            progress=progress,
        )
        samples = extract(np.load(drawn, mmap_mode="r"), sha256_file(drawn), extractor, progress=progress)
        how = f"seed {args.seed}, temperature {args.temperature:g}, batches of {settings.batch_size}"
        entries = compare(
            samples,
            extract(real, real_identity, extractor, progress=progress),
            extractor,
            samples_card=f"{settings.samples} samples ({how})",
            reference_card=real_card,
            seed=args.seed,
        )
        samples.discard()  # large, and quickly made again from the samples, which stay
    write_measurements(path / "fidelity.json", names, entries, weights_sha256=weights)
    print(table(entries) or "extractor: none; nothing was measured")


def run_floor(args: argparse.Namespace) -> None:
    """Compare real images with real images, and write FOLDER/floor.json."""
    from marscf.evaluation.fidelity import compare, extract, reference_images
    from marscf.evaluation.measurements import table, write_measurements

    folder, progress = Path(args.folder), sys.stderr.isatty()
    names = Run.from_path(folder / REAL / "seed0")
    settings = _fidelity_settings(args, folder / REAL / "seed0")
    entries = []
    if extractor := _extractor(args, settings, names.dataset):
        other = "train" if settings.reference == "test" else "test"
        cards, features = [], []
        for split, most in ((other, settings.samples), (settings.reference, None)):
            images, identity, card = reference_images(names.dataset, split, most, args.seed)
            features.append(extract(images, identity, extractor, progress=progress))
            cards.append(card)
        entries = compare(
            *features, extractor, samples_card=cards[0], reference_card=cards[1], seed=args.seed
        )
    write_measurements(folder / "floor.json", names, entries)
    print(table(entries) or "extractor: none; nothing was measured")


def _fidelity_settings(args: argparse.Namespace, path: Path) -> "Fidelity":
    given = {key: getattr(args, key, None) for key in ("extractor", "samples", "reference", "batch_size")}
    changes = {key: value for key, value in given.items() if value is not None}
    return settings_of(path).fidelity.model_copy(update=changes)


def _extractor(args: argparse.Namespace, settings: "Fidelity", dataset: str) -> "Extractor | None":
    if settings.extractor == "none":
        return None
    from marscf.data.arrays import read_manifest
    from marscf.evaluation.extractors import load_extractor

    return load_extractor(
        settings.extractor,
        dataset,
        grey_levels=read_manifest(dataset)["grey_levels"],
        device=choose_device(args.device),
        inception_weights=args.inception_weights,
        mirror=args.mirror,
        offline=args.offline,
    )


def settings_of(path: Path) -> "Evaluation":
    """Return the `evaluation` section of a run's scale; the defaults for a scale that `config/` has not."""
    from marscf.config import Evaluation, load_config

    scale = Run.from_path(path).scale
    if not Path("config").is_dir():
        return Evaluation()
    scales = load_config().scales
    return scales[scale].evaluation if scale in scales else Evaluation()
