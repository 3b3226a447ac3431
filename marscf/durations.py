"""Durations in words."""


def in_words(seconds: float) -> str:
    """Return `40 s`, `12 min` or `2.7 h`."""
    if seconds < 90:
        return f"{seconds:.0f} s"
    if seconds < 5400:
        return f"{seconds / 60:.0f} min"
    return f"{seconds / 3600:.1f} h"
