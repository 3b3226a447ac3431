"""`marscf config RUN`: print a run's resolved config."""

import argparse
import json

from marscf.runs import run_config


def configure(parser: argparse.ArgumentParser) -> None:
    """Add the arguments of `marscf config`."""
    parser.add_argument("run", metavar="RUN", help="data/runs/<scale>/<dataset>/<system>/seed<k>")
    parser.epilog = (
        "example: marscf config data/runs/quick/digits/glow/seed0 > config.json\n"
        "In the run's folder on a machine with little but torch and numpy, `marscf train` reads config.json."
    )


def run(args: argparse.Namespace) -> None:
    """Print the config as JSON."""
    print(json.dumps(run_config(args.run), indent=1))
