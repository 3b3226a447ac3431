"""What is read from environment variables, all in one way: an empty one is as none."""

import os

OFF = ("", "0", "false", "no", "off")


def given(name: str) -> str | None:
    """Return a variable's value, None where it is not set or empty."""
    return os.environ.get(name) or None


def switch(name: str) -> bool:
    """Whether a variable switches something on: all but nothing, 0, false, no and off do."""
    return os.environ.get(name, "").strip().lower() not in OFF
