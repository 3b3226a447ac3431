"""How many trials a campaign makes, and what came of them.

Few by default, all of them where the environment says MARSCF_CAMPAIGNS=whole, as `make campaigns` does.
"""

import os

WHOLE = os.environ.get("MARSCF_CAMPAIGNS") == "whole"
FOUND: list[str] = []  # a line for each campaign, printed at the end


def count(small: int, whole: int) -> int:
    """How many trials to make."""
    return whole if WHOLE else small


def found(line: str) -> None:
    """Keep what a campaign has counted, to be printed at the end."""
    FOUND.append(line)
