"""What several stages' arguments have in common."""

import argparse

from marscf.environment import given, switch
from marscf.errors import ConfigError

RUN_HELP = "data/runs/<scale>/<dataset>/<system>/seed<k>"
SCALE_HELP = "a file in config/scales: quick, laptop, cpu-hours, gpu-hour, paper, published"


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


def check_temperature(value: float) -> None:
    """Raise `ConfigError` unless noise can be scaled by it."""
    if not 0 < value < float("inf"):
        raise ConfigError(f"--temperature {value}: must be above 0")


def add_sources(parser: argparse.ArgumentParser, held: str) -> None:
    """Add where files come from: `--mirror`, which holds `held`, and `--offline`."""
    parser.add_argument(
        "--mirror",
        default=given("MARSCF_MIRROR"),
        help=f"folder or fsspec address that holds {held}, instead of the publishers "
        "(default: $MARSCF_MIRROR)",
    )
    parser.add_argument(
        "--offline",
        action="store_true",
        default=switch("MARSCF_OFFLINE"),
        help="never open a socket (default: $MARSCF_OFFLINE)",
    )


def add_report(stage: argparse.ArgumentParser) -> None:
    """Add the option that makes a measurement of other settings more than a trial."""
    stage.description = (
        f"{stage.description}\nWith other settings it is a trial: it goes to a file trial-… beside, "
        "never into the report."
    )
    stage.add_argument("--report", action="store_true", help="with other settings too, it is for the report")


def default_scale() -> str:
    """The scale of `config/config.yaml`. Raises `ConfigError` where it names none."""
    from marscf.config import read_yaml

    settings = read_yaml("config/config.yaml")
    if not (isinstance(settings, dict) and (scale := settings.get("scale"))):
        raise ConfigError("config/config.yaml: scale: is missing; --scale NAME names one")
    return str(scale)


def names(text: str) -> list[str]:
    """Parse names separated by commas."""
    return [name.strip() for name in text.split(",") if name.strip()]
