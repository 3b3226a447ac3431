"""Stopping on request: SIGTERM (pre-emption), SIGINT (Ctrl-C) or a time limit."""

import re
import signal
import threading
import time
from typing import Any

from marscf.errors import ConfigError, Interrupted

_UNITS = {"s": 1, "m": 60, "h": 3600, "d": 86400}


def parse_duration(text: str) -> float:
    """Return the seconds of `90s`, `9m`, `2h`, `1h30m` or `45` (seconds); raises `ConfigError`."""
    parts = re.findall(r"(\d+(?:\.\d+)?)([smhd]?)", text)
    if not parts or "".join(number + unit for number, unit in parts) != text:
        raise ConfigError(f"time limit {text!r} is no duration; write 90s, 9m, 2h or 1h30m")
    return sum(float(number) * _UNITS[unit or "s"] for number, unit in parts)


class Stop:
    """Whether the work was asked to stop, and why; a context manager that listens to signals.

    A signal that comes before `begin()` raises `Interrupted` at once, since there is nothing to save yet;
    later ones only set `reason`, which the loop reads at points where its state is whole.
    """

    def __init__(self, time_limit: float | None = None):
        self.reason: str | None = None
        self._deadline = None if time_limit is None else time.monotonic() + time_limit
        self._begun = False
        self._previous: dict[int, Any] = {}

    def __enter__(self) -> "Stop":
        if threading.current_thread() is threading.main_thread():
            for number in (signal.SIGTERM, signal.SIGINT):
                self._previous[number] = signal.signal(number, self._on_signal)
        return self

    def __exit__(self, *exception: object) -> None:
        for number, handler in self._previous.items():
            signal.signal(number, handler)

    def _on_signal(self, number: int, frame: object) -> None:
        self.reason = signal.Signals(number).name
        if not self._begun:
            raise Interrupted(f"stopped by {self.reason} before the first step; call again to start")

    def begin(self) -> None:
        """Say that from here on stopping needs a saved state."""
        self._begun = True

    def requested(self) -> bool:
        """Return whether a signal came or the time is up."""
        if self.reason is None and self._deadline is not None and time.monotonic() >= self._deadline:
            self.reason = "the time limit"
        return self.reason is not None
