"""What several stages' arguments have in common."""

import argparse

RUN_HELP = "data/runs/<scale>/<dataset>/<system>/seed<k>"
SCALE_HELP = "a file in config/scales: quick, laptop, gpu-hour, paper"


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


def names(text: str) -> list[str]:
    """Parse names separated by commas."""
    return [name.strip() for name in text.split(",") if name.strip()]
