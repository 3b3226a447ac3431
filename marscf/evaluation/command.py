"""`marscf evaluate likelihood|fidelity|extractor|floor`: measure runs and datasets."""

import argparse
import sys
from pathlib import Path
from typing import TYPE_CHECKING

from marscf.devices import HELP
from marscf.errors import EvaluationError
from marscf.runs import Run, run_config

if TYPE_CHECKING:
    from marscf.config import Evaluation

RUN_HELP = "data/runs/<scale>/<dataset>/<system>/seed<k>"


def configure(parser: argparse.ArgumentParser) -> None:
    """Add the subcommands of `marscf evaluate`."""
    parser.epilog = (
        "examples:\n"
        "  marscf evaluate likelihood data/runs/quick/digits/glow/seed0\n"
        "  marscf evaluate likelihood data/runs/paper/cifar10/glow/seed0 --draws 1 --images 1000"
    )
    stages = parser.add_subparsers(dest="measure", required=True, metavar="MEASURE")
    likelihood = _stage(
        stages, "likelihood", "bits/dim and nats of the test images -> RUN/likelihood.json", run_likelihood
    )
    likelihood.add_argument("run_path", metavar="RUN", help=RUN_HELP)
    likelihood.add_argument("--draws", type=positive, metavar="R", help="noise draws averaged an image")
    likelihood.add_argument(
        "--importance-samples",
        type=whole,
        metavar="K",
        help="of the importance-weighted bound; 0: none",
    )
    likelihood.add_argument("--images", type=positive, metavar="N", help="only the first N test images")
    likelihood.add_argument("--batch-size", type=positive, metavar="B", help="images a batch")


def _stage(stages, name: str, help_line: str, function) -> argparse.ArgumentParser:
    stage = stages.add_parser(
        name,
        help=help_line,
        description=f"{help_line}\nWhat is not given comes from the `evaluation` section of the run's scale.",
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
    """Measure bits/dim, and write RUN/likelihood.json."""
    from marscf import load
    from marscf.data.arrays import open_split
    from marscf.devices import choose_device
    from marscf.evaluation.likelihood import evaluate_likelihood, likelihood_measurements
    from marscf.evaluation.measurements import table, weights_hash, write_measurements

    path = Path(args.run_path)
    names, config, settings = Run.from_path(path), run_config(path), settings_of(path)
    model = load(path, choose_device(args.device))
    images = open_split(config["dataset"], "test")
    chosen = args.images or settings.images or len(images)
    if chosen > len(images):
        raise EvaluationError(f"images: {chosen} were asked for, {config['dataset']} has {len(images)}")
    importance = args.importance_samples
    result = evaluate_likelihood(
        model,
        images[:chosen],
        draws=args.draws or settings.draws,
        importance_samples=settings.importance_samples if importance is None else importance,
        batch_size=args.batch_size or settings.batch_size,
        seed=args.seed,
        progress=sys.stderr.isatty(),
    )
    entries = likelihood_measurements(
        result, model, dims=config["data"]["dims"], available=len(images), seed=args.seed
    )
    write_measurements(path / "likelihood.json", names, entries, weights_sha256=weights_hash(path))
    print(table(entries))


def settings_of(path: Path) -> "Evaluation":
    """Return the `evaluation` section of a run's scale; the defaults for a scale that `config/` has not."""
    from marscf.config import Evaluation, load_config

    scale = Run.from_path(path).scale
    if not Path("config").is_dir():
        return Evaluation()
    scales = load_config().scales
    return scales[scale].evaluation if scale in scales else Evaluation()
