"""The lines and the bar: rich's, live on a terminal, plain lines elsewhere."""

import threading
from typing import TYPE_CHECKING, TextIO

if TYPE_CHECKING:
    from snakemake_logger_plugin_marscf.jobs import Jobs

LIVE_SECONDS = 1.0  # between two looks at what runs, on a terminal
PLAIN_SECONDS = 60.0  # and elsewhere, where each look is a line


class Screen:
    """Prints lines; while it is open, shows what runs."""

    def __init__(self, stream: TextIO, jobs: "Jobs", colour: bool):
        from rich.console import Console  # not at the top: Snakemake imports each plugin at each start

        self.jobs = jobs
        self.console = Console(file=stream, no_color=not colour, highlight=False, markup=False, emoji=False)
        self.live = self.console.is_interactive
        self._closing = threading.Event()
        self._watcher: threading.Thread | None = None
        self._shown = ""

    def say(self, line: str, style: str = "") -> None:
        """Print a line, above the bar where there is one; Snakemake's formatter writes nothing as `None`."""
        if line and line != "None":
            self.console.print(line, style=style, soft_wrap=True)

    def open(self) -> None:
        """Begin to show what runs."""
        if self._watcher is None:
            self._closing.clear()
            self._watcher = threading.Thread(target=self._watch, daemon=True)
            self._watcher.start()

    def close(self) -> None:
        """End it, and leave the lines."""
        if self._watcher is not None:
            self._closing.set()
            self._watcher.join()
            self._watcher = None

    def _watch(self) -> None:
        if not self.live:
            while not self._closing.wait(PLAIN_SECONDS):
                self._line()
            return
        from rich.progress import BarColumn, Progress, TaskID, TextColumn

        columns = (TextColumn("{task.description}"), BarColumn(), TextColumn("{task.fields[note]}"))
        # a timing may run beside it: two pictures a second cost next to nothing
        with Progress(*columns, console=self.console, transient=True, refresh_per_second=2) as progress:
            whole = progress.add_task("", note="")
            rows: dict[int, TaskID] = {}
            while not self._closing.wait(LIVE_SECONDS):
                running = dict(self.jobs.running)
                for number in rows.keys() - running.keys():
                    progress.remove_task(rows.pop(number))
                for number, job in running.items():
                    if number not in rows:
                        rows[number] = progress.add_task(job.name, total=job.steps, note="")
                    step, note = job.at()
                    progress.update(rows[number], completed=step, note=note)
                progress.update(whole, total=self.jobs.total, completed=self.jobs.done, note=self.jobs.told())

    def _line(self) -> None:
        """Print what is done and what runs, unless that is what was printed last."""
        running = []
        for job in dict(self.jobs.running).values():
            step, note = job.at()
            where = [f"step {step} of {job.steps}"] * bool(job.steps) + [note] * bool(note)
            running.append(job.name + (f" ({', '.join(where)})" if where else ""))
        line = f"{self.jobs.told()}. Running: {', '.join(running)}"
        if running and line != self._shown:
            self._shown = line
            self.say(line)
