"""`marscf study sampling-speed|interpolate|latents`."""

import argparse
from pathlib import Path

from marscf import seals
from marscf.cli.arguments import RUN_HELP, SCALE_HELP, add_report, names, positive
from marscf.devices import HELP
from marscf.files import sha256_file
from marscf.models import WEIGHTS
from marscf.runs import run_config

EXAMPLES = """\
examples (marscf study STUDY --help says what each measures and writes):
  marscf study sampling-speed --scale quick
  marscf study interpolate data/runs/quick/digits/marscf-affine/seed0
  marscf study latents data/runs/quick/digits/marscf-affine/seed0"""

SPEED = """\
Time a batch's drawing over image sides for a scale's systems (Fig. 7). Models are built from config/: a
system's options at the scale, its levels growing with log2 N so that the last level's side stays the same
(Lemma A.1). Weights are fresh but for iterative inverses, which get those of the scale's trained run where
there is one.
Settings: studies.sampling_speed in config/scales/SCALE.yaml.

writes  reports/SCALE/sampling_speed.csv   one row a repeat, milliseconds of a whole batch
        reports/SCALE/sampling_speed.json  machine, weights, points left out and why; an interrupted call, or
                                           one for more systems, goes on from it
examples:
  marscf study sampling-speed --scale quick
  marscf study sampling-speed --scale paper --systems glow,marscf-mixlogcdf --device cuda"""

INTERPOLATE = """\
Walk between pairs of real images in a flow's latent space, straight and moved off the straight line (Figs. 11
and 12). Points are moved by Adamax on
    |z-z_line|² - λ1·log p(z) + λ2·min(|x-x_A|², |x-x_B|²),   x the image of z,
all three per dimension, distances in the standard deviations of real images' latents and pixels. This is our
reading of a method whose equation the paper's supplement doesn't print. λ1 = λ2 is chosen on pairs of
validation images, by the score that is compared on pairs of test images; 0, the straight line, may be chosen.
Unless density is unbounded, no point ends denser than the denser of its two real ends, or than it started.
Settings: the entry of studies.interpolation for the run's dataset and system in config/scales/SCALE.yaml,
else defaults.

writes  RUN/interpolation.npz         images of drawn test pairs, uint8 (pairs, 2 methods, points, C, H, W),
                                      t, and the λ that was chosen
        RUN/interpolation.csv         log-densities (nats) and distances of every point, validation and test
        RUN/interpolation_scores.csv  Inception score over t, its difference from the straight line's
An interrupted call goes on by batches of pairs.
examples:
  marscf study interpolate data/runs/quick/digits/marscf-affine/seed0
  marscf study interpolate data/runs/paper/cifar10/marscf-mixlogcdf/seed0 --device cuda:1"""

LATENTS = """\
Correlation among the channels of the last level's latent of validation images, as the flow encodes them and
standardised by the run's own prior: what a prior models leaves no correlation.

writes  RUN/latent_correlation.npz   latent and residual, (C, C) each
example:
  marscf study latents data/runs/quick/digits/marscf-affine/seed0"""


def configure(parser: argparse.ArgumentParser) -> None:
    """Add the arguments of `marscf study`."""
    parser.epilog = EXAMPLES
    studies = parser.add_subparsers(dest="study", required=True, metavar="STUDY")

    def add(name: str, title: str, text: str) -> argparse.ArgumentParser:
        formatter = argparse.RawDescriptionHelpFormatter
        study = studies.add_parser(name, help=title, description=text, formatter_class=formatter)
        study.add_argument("--device", default="auto", help=HELP)
        return study

    speed = add("sampling-speed", "milliseconds and sequential steps over image sides (Fig. 7)", SPEED)
    speed.add_argument("--scale", required=True, help=SCALE_HELP)
    speed.add_argument(
        "--systems",
        metavar="A,B",
        type=names,
        help="some of config/systems (default: the scale's with sampling depth)",
    )
    speed.add_argument("--out", metavar="FILE", type=Path, help="default: reports/SCALE/sampling_speed.csv")
    walk = add("interpolate", "paths between real images (Figs. 11, 12)", INTERPOLATE)
    latents = add("latents", "correlation among the channels of the last latent", LATENTS)
    speed.add_argument("--repeats", type=positive, metavar="N", help="at most N of each point")
    walk.add_argument(
        "--no-scores", dest="scored", action="store_false", help="no Inception scores: the middle λ is chosen"
    )
    for study, what in ((walk, "images of the test pairs' paths"), (latents, "validation images")):
        study.add_argument("--images", type=positive, metavar="N", help=f"at most N {what}")
        study.add_argument("run_folder", metavar="RUN", help=RUN_HELP)
        add_report(study)


def run(args: argparse.Namespace) -> None:
    """Run one study and say what it wrote."""
    if args.study == "sampling-speed":
        from marscf.studies.sampling_speed import sweep

        out = sweep(args.scale, args.systems, args.device, args.out, args.repeats)
        seals.seal(out.with_suffix(".seal.json"), [out, out.with_suffix(".json")])
        print(out)
    elif args.study == "latents":
        from marscf.studies.latents import measure_latents

        out = measure_latents(args.run_folder, args.device, args.images, args.report)
        _seal([out], args.run_folder)
        print(out)
    else:
        from marscf.studies.interpolation_study import interpolate_run

        how = {name: getattr(args, name) for name in ("device", "images", "scored", "report")}
        written = interpolate_run(args.run_folder, **how)
        _seal(written, args.run_folder)
        print(*written, sep="\n")


def _seal(files: list[Path], run: str) -> None:
    """Seal what a study wrote into a run's folder: with the weights and the data that it was made from."""
    from marscf.data.arrays import read_manifest

    data = read_manifest(run_config(run).dataset)["digest"]
    place = files[0].with_suffix(".seal.json")
    seals.seal(place, files, weights_sha256=sha256_file(Path(run) / WEIGHTS), data_digest=data)
