"""`marscf evaluate likelihood|as-published|fidelity|extractor|floor|inception`: measure runs and datasets."""

import argparse
import sys
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

from marscf.cli.arguments import RUN_HELP, add_report, check_temperature, positive, whole
from marscf.devices import HELP, choose_device

if TYPE_CHECKING:
    from marscf.config import Fidelity
    from marscf.evaluation.measure_fidelity import Call

EXAMPLES = """examples:
  marscf evaluate likelihood data/runs/quick/digits/glow/seed0
  marscf evaluate likelihood data/runs/paper/cifar10/glow/seed0 --draws 1 --images 1000
  marscf evaluate extractor digits
  marscf evaluate fidelity data/runs/quick/digits/glow/seed0 --samples 500
  marscf evaluate fidelity RUN --extractor inception --inception-weights FILE
  marscf evaluate fidelity RUN --images 1000       of both at most 1000: sooner, but FID is biased upwards
  marscf evaluate floor data/runs/quick/digits"""
INCEPTION = (
    "fetch Inception's weights, and note whether they are there -> data/extractors/inception/record.json\n"
    "From MARSCF_INCEPTION, MARSCF_MIRROR or their publisher. That they cannot be had is no error here."
)
Stages = argparse._SubParsersAction


def configure(parser: argparse.ArgumentParser) -> None:
    """Add the subcommands of `marscf evaluate`."""
    parser.epilog = EXAMPLES
    stages = parser.add_subparsers(dest="measure", required=True, metavar="MEASURE")
    likelihood = _stage(
        stages, "likelihood", "bits/dim and nats of the test images -> RUN/likelihood.json, likelihood.npz"
    )
    _of_run(likelihood, run_likelihood)
    add_report(likelihood)
    likelihood.add_argument("--draws", type=positive, metavar="R", help="noise draws averaged per image")
    likelihood.add_argument(
        "--importance-samples", type=whole, metavar="K", help="of the importance-weighted bound; 0: none"
    )
    likelihood.add_argument("--images", type=positive, metavar="N", help="at most the first N test images")
    likelihood.add_argument("--batch-size", type=positive, metavar="B", help="images per batch")

    own = _stage(
        stages,
        "as-published",
        "bits/dim of an imported run as its own code evaluates it -> RUN/as_published.json",
    )
    _of_run(own, run_as_published)
    add_report(own)
    own.add_argument("--images", type=positive, metavar="N", help="at most the first N test images")

    fidelity = _comparison(
        stages,
        "fidelity",
        "FID, KID, Inception score, precision and recall of samples -> RUN/fidelity.json",
    )
    _of_run(fidelity, run_fidelity)
    fidelity.add_argument("--batch-size", type=positive, metavar="B", help="samples drawn at once")
    fidelity.add_argument("--temperature", type=float, default=1.0, help="of the samples (default: 1)")

    floor = _comparison(
        stages,
        "floor",
        "the same of real images against real images -> FOLDER/floor.json: what a perfect model would get",
    )
    floor.set_defaults(stage=run_floor)
    floor.add_argument("folder", metavar="FOLDER", help="data/runs/<scale>/<dataset>")

    extractor = _stage(
        stages, "extractor", "train digits-net on a dataset -> data/extractors/digits-net/DATASET/"
    )
    extractor.set_defaults(stage=run_extractor)
    extractor.add_argument("dataset", metavar="DATASET", help="a prepared dataset with labels")

    inception = stages.add_parser(
        "inception",
        help=INCEPTION,
        description=INCEPTION,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    inception.set_defaults(stage=run_inception)


def _stage(stages: Stages, name: str, help_line: str) -> argparse.ArgumentParser:
    stage: argparse.ArgumentParser = stages.add_parser(
        name,
        help=help_line,
        description=f"{help_line}\nWhat is not given comes from the `evaluation` section of the scale.",
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    stage.add_argument("--device", default="auto", help=HELP)
    stage.add_argument("--seed", type=whole, default=0, help="of the measurement's own noise (default: 0)")
    stage.add_argument("--debug", action="store_true", default=argparse.SUPPRESS, help=argparse.SUPPRESS)
    return stage


def _of_run(stage: argparse.ArgumentParser, call: Callable[[argparse.Namespace], None]) -> None:
    """Let a stage measure the run that it is given."""
    stage.set_defaults(stage=call)
    stage.add_argument("run_path", metavar="RUN", help=RUN_HELP)


def _comparison(stages: Stages, name: str, help_line: str) -> argparse.ArgumentParser:
    stage = _stage(stages, name, help_line)
    add_report(stage)
    stage.add_argument("--extractor", choices=["inception", "digits-net", "none"])
    stage.add_argument("--samples", type=positive, metavar="N", help="images compared")
    stage.add_argument("--images", type=positive, metavar="N", help="at most N samples and N real images")
    stage.add_argument("--reference", choices=["train", "train+val", "test"], help="the real images")
    stage.add_argument("--inception-weights", metavar="FILE", help="default: $MARSCF_INCEPTION")
    stage.add_argument("--mirror", help="holds inception/<file> (default: $MARSCF_MIRROR)")
    stage.add_argument(
        "--offline", action="store_true", default=None, help="never download (default: $MARSCF_OFFLINE)"
    )
    return stage


def run(args: argparse.Namespace) -> None:
    """Run the subcommand."""
    args.stage(args)


def run_likelihood(args: argparse.Namespace) -> None:
    """Measure bits/dim."""
    from marscf.evaluation.measure_likelihood import measure_likelihood
    from marscf.evaluation.measurements import table

    how = ("draws", "importance_samples", "images", "batch_size", "seed", "device", "report")
    chosen = {name: getattr(args, name) for name in how}
    print(table(measure_likelihood(Path(args.run_path), **chosen, progress=sys.stderr.isatty())))


def run_as_published(args: argparse.Namespace) -> None:
    """Measure bits/dim by the protocol of a run's own code."""
    from marscf.evaluation.as_published import measure_as_published
    from marscf.evaluation.measurements import table

    chosen = {name: getattr(args, name) for name in ("images", "seed", "device", "report")}
    entries = measure_as_published(Path(args.run_path), **chosen, progress=sys.stderr.isatty())
    print(table(entries) or "its code evaluates it as we do; nothing was measured")


def run_extractor(args: argparse.Namespace) -> None:
    """Train digits-net on a dataset."""
    from marscf.evaluation.digits_net import ROOT, train_extractor

    receipt = train_extractor(args.dataset, choose_device(args.device), progress=sys.stderr.isatty())
    print(f"{ROOT / args.dataset}: test accuracy {receipt['test_accuracy']:.4f}, {receipt['steps']} steps")


def run_inception(args: argparse.Namespace) -> None:
    """Fetch Inception's weights, and say where they are or what is missing."""
    from marscf.evaluation.inception import at_hand, record_inception, without

    missing = record_inception()
    print(f"marscf evaluate: {without(missing)}" if missing else f"Inception's weights: {at_hand()}")


def run_fidelity(args: argparse.Namespace) -> None:
    """Compare a run's samples with real images."""
    from marscf.evaluation.measure_fidelity import measure_fidelity

    path = Path(args.run_path)
    check_temperature(args.temperature)
    settings, call, is_trial = _chosen(args, path)
    is_trial |= args.temperature != 1 and not args.report
    _show(measure_fidelity(path, settings, call, args.temperature, is_trial))


def run_floor(args: argparse.Namespace) -> None:
    """Compare real images with real images."""
    from marscf.evaluation.measure_fidelity import REAL, measure_floor

    folder = Path(args.folder)
    _show(measure_floor(folder, *_chosen(args, folder / REAL / "seed0")))


def _show(entries: list[dict[str, Any]]) -> None:
    from marscf.evaluation.measurements import table

    print(table(entries) or "extractor: none; nothing was measured")


def _chosen(args: argparse.Namespace, path: Path) -> "tuple[Fidelity, Call, bool]":
    """Return the settings of a run's scale with what the command line changes, the rest of the call, and
    whether that makes it a trial.
    """
    from marscf.evaluation.measure_fidelity import Call
    from marscf.evaluation.measure_likelihood import settings_of

    given = {key: getattr(args, key, None) for key in ("extractor", "samples", "reference", "batch_size")}
    changes = {key: value for key, value in given.items() if value is not None}
    how = ("seed", "device", "inception_weights", "mirror", "offline", "images")
    call = Call(**{name: getattr(args, name) for name in how}, progress=sys.stderr.isatty())
    said = settings_of(path).fidelity
    settings = said.model_copy(update=changes)
    other = settings != said or args.seed != 0 or args.images is not None
    return settings, call, other and not args.report
