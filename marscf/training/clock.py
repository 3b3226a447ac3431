"""The time that a training takes, added to its record."""

import time

from marscf.training.state import Record

UNTIMED_STEPS = 3  # the first of each process: they allocate memory and compile


class Clock:
    """Adds up all time in the loop, and separately the time of training steps."""

    def __init__(self, record: Record):
        self.record = record
        self._wall, self._processor = time.monotonic(), time.process_time()
        self._step_began = self._wall
        self._untimed = UNTIMED_STEPS

    @property
    def seconds(self) -> float:
        """All seconds in the loop until now."""
        return self.record.seconds + time.monotonic() - self._wall

    def settle(self) -> None:
        """Add the time since the last call."""
        wall, processor = time.monotonic(), time.process_time()
        self.record.seconds += wall - self._wall
        self.record.cpu_seconds += processor - self._processor
        self._wall, self._processor = wall, processor

    def begin_step(self) -> None:
        """Say that a training step begins."""
        self._step_began = time.monotonic()

    def end_step(self, images: int) -> None:
        """Add the step that began last, its time and its images; the first few are left out."""
        if self._untimed:
            self._untimed -= 1
        else:
            self.record.timed_seconds += time.monotonic() - self._step_began
            self.record.timed_images += images
