"""`marscf sample`: draw images from a run, as one PNG grid or as an array."""

import argparse
import io
import sys
from pathlib import Path
from typing import TYPE_CHECKING

from marscf.cli.arguments import RUN_HELP, check_temperature, positive, whole
from marscf.devices import HELP
from marscf.errors import ConfigError

if TYPE_CHECKING:
    import numpy


def configure(parser: argparse.ArgumentParser) -> None:
    """Add the arguments of `marscf sample`."""
    parser.add_argument("run_path", metavar="RUN", help=f"{RUN_HELP}, or a .safetensors file")
    parser.add_argument("-n", "--count", type=positive, default=64, help="images (default: 64)")
    parser.add_argument("--out", required=True, metavar="FILE", help="x.png: a grid; x.npy: uint8 (n,C,H,W)")
    parser.add_argument(
        "--temperature", type=float, default=1.0, help="scales the noise, > 0; below 1 is tamer (default: 1)"
    )
    parser.add_argument("--seed", type=whole, default=0, help="same seed, same images (default: 0)")
    parser.add_argument("--batch-size", type=positive, default=250, help="drawn at once (default: 250)")
    parser.add_argument("--columns", type=positive, help="of the grid (default: about square)")
    parser.add_argument("--device", default="auto", help=HELP)
    parser.epilog = (
        "examples:\n"
        "  marscf sample data/runs/quick/digits/glow/seed0 -n 16 --out x.png\n"
        "  marscf sample data/runs/quick/digits/glow/seed0 -n 1000 --out x.npy --seed 1 --temperature 0.8\n"
        "No model here takes a class: the labels of a dataset are ignored, and samples are of all classes.\n"
        "A PNG shows grey levels stretched to 0 … 255 and enlarges tiny images; an array holds the draws."
    )


def run(args: argparse.Namespace) -> None:
    """Draw the images and write the file."""
    import numpy as np

    from marscf import seals
    from marscf.files import replacing, sha256_file

    out = Path(args.out)
    if out.suffix not in (".png", ".npy"):
        raise ConfigError(f"--out {out}: the name must end in .png or .npy")
    check_temperature(args.temperature)

    from marscf import load
    from marscf.devices import choose_device
    from marscf.evaluation.sampling import draw
    from marscf.images import stretched, tiled
    from marscf.models import WEIGHTS

    model = load(args.run_path, choose_device(args.device))
    images = draw(
        model,
        args.count,
        batch_size=args.batch_size,
        seed=args.seed,
        temperature=args.temperature,
        progress=sys.stderr.isatty(),
    )
    with replacing(out) as temporary:
        if out.suffix == ".npy":
            content = io.BytesIO()  # numpy's own writing to a file does not say that the disk is full
            np.save(content, images)
            temporary.write_bytes(content.getbuffer())
        else:
            picture = tiled(stretched(images, model.grey_levels), args.columns, smallest=32)
            write_png(temporary, picture)
    if out.suffix == ".npy":
        weights = Path(args.run_path) / WEIGHTS if Path(args.run_path).is_dir() else Path(args.run_path)
        seals.seal(out.with_suffix(".seal.json"), [out], weights_sha256=sha256_file(weights))
    print(f"{out}: {args.count} images of {'×'.join(map(str, model.shape))}, seed {args.seed}")


def write_png(path: Path, picture: "numpy.ndarray") -> None:
    """Write a picture `uint8 (height,width,C)`, C = 1 or 3, as PNG; the same bytes for the same picture."""
    from PIL import Image

    Image.fromarray(picture.squeeze(2) if picture.shape[2] == 1 else picture).save(path, optimize=True)
