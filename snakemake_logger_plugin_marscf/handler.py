"""From Snakemake's events to lines and a bar."""

import logging
import os
import re
import sys
import time

from snakemake_interface_logger_plugins.base import LogHandlerBase

from marscf.durations import in_words
from snakemake_logger_plugin_marscf.jobs import Job, Jobs
from snakemake_logger_plugin_marscf.said import last_lines, result, warnings
from snakemake_logger_plugin_marscf.screen import Screen

#: How the messages begin that Snakemake writes in each call and that tell a reader nothing.
LEFT_OUT = (
    *("Assuming unrestricted", "Building DAG", "Using shell", "Select jobs", "Execute ", "Using profile"),
    *("Using workflow specific profile", "Config file", "DAG of jobs will be updated", "host: ", "Elapsed"),
    *("Updating checkpoint dep", "Updating job", "Conda env", "Singularity containers", "Finished job"),
    *("Group jobs", "Rules claiming more threads", "Removing output files of failed job", "Shutting down"),
    "Exiting because a job execution failed",
)
#: What Snakemake says besides of a job that failed; `on_job_error` says it all.
SAID_BEFORE = ("CalledProcessError in file", "At least one job did not complete successfully")
COMPLETE_LOG = "Complete log(s): "
REDIRECTION = re.compile(r" > \S+ 2>&1$")


class LogHandler(LogHandlerBase):
    """Snakemake's handler of its events: a method `on_<event>` for each that is shown."""

    writes_to_stream = True
    writes_to_file = False
    has_filter = False  # Snakemake's own, which obeys --quiet
    has_formatter = False  # Snakemake's own, for what is printed as it is
    needs_rulegraph = False

    def __post_init__(self) -> None:
        """Open the screen; Snakemake calls it at the end of `__init__`."""
        asked = self.common_settings
        self.as_it_is = bool(asked.dryrun or asked.verbose or asked.debug_dag)
        self.jobs = Jobs()
        stream = sys.stdout if asked.stdout else sys.stderr
        self.screen = Screen(stream, self.jobs, colour=not asked.nocolor)
        self.failed: set[int] = set()
        self.began = time.monotonic()

    def emit(self, record: logging.LogRecord) -> None:
        """See `logging.Handler.emit`."""
        event = getattr(record, "event", None)
        if self.as_it_is:
            self.screen.say(self.format(record))
        elif handle := getattr(self, f"on_{event}", None):
            handle(record)
        elif record.levelno >= logging.WARNING or event is None:
            self.on_message(record)

    def close(self) -> None:
        """See `logging.Handler.close`."""
        self.screen.close()
        super().close()

    def on_message(self, record: logging.LogRecord) -> None:
        """Print what Snakemake says, if it says something; name the file that has all of it."""
        text = self.format(record)
        if text.startswith(COMPLETE_LOG):
            self.screen.close()
            if self.jobs.total and self.jobs.done == self.jobs.total:
                self.screen.say(f"{self.jobs.counted()} in {in_words(time.monotonic() - self.began)}")
            self.screen.say(f"The whole log: {os.path.relpath(text.removeprefix(COMPLETE_LOG))}")
        elif not text.startswith(LEFT_OUT) and not any(words in text for words in SAID_BEFORE):
            self.screen.say(text, "yellow" if record.levelno >= logging.WARNING else "")

    def on_run_info(self, record: logging.LogRecord) -> None:
        """Note how many jobs of each rule there will be."""
        self.jobs.expect(vars(record)["stats"])

    def on_progress(self, record: logging.LogRecord) -> None:
        """Note how many are done."""
        self.jobs.done, self.jobs.total = vars(record)["done"], vars(record)["total"]

    def on_job_info(self, record: logging.LogRecord) -> None:
        """A job begins. One without a log speaks on the terminal itself, so the bar makes room."""
        of = vars(record)
        if of["shellcmd"] is None:  # it runs nothing
            return
        job = Job(of["rule_name"], dict(of["wildcards"]), list(of["output"]), text_logs(of["log"]))
        self.jobs.begin(of["jobid"], job)
        if not of["log"]:
            self.screen.close()
        else:
            self.screen.open()

    def on_job_finished(self, record: logging.LogRecord) -> None:
        """A job is done: say its bits/dim, where it has them, and its warnings."""
        if job := self.jobs.end(vars(record)["job_id"]):
            for line in warnings(job):
                self.screen.say(line, "yellow")
            if found := result(job):
                self.screen.say(found)

    def on_job_error(self, record: logging.LogRecord) -> None:
        """A job failed: show the end of its log and what to do, once."""
        of = vars(record)
        job = self.jobs.end(of["jobid"], failed=True)
        if of["jobid"] in self.failed:  # Snakemake lists them again at the end
            return
        self.failed.add(of["jobid"])
        self.screen.say(f"FAILED: {job.name if job else of['rule_name']}", "red")
        for path in text_logs(of["log"]):
            self.screen.say(f"The end of {path}:")
            for line in last_lines(path) or ["(it is empty)"]:
                self.screen.say(f"  | {line}")
        self.screen.say("Correct what it says, then give the same command again: what is done is kept.")
        if command := of["shellcmd"]:
            self.screen.say(f"This job alone: {REDIRECTION.sub('', command.strip())}")

    def _ignored(self, record: logging.LogRecord) -> None:
        """Say nothing: another event tells it."""

    on_job_started = on_shellcmd = on_resources_info = on_workflow_started = on_rulegraph = _ignored
    on_group_info = on_debug_dag = _ignored


def text_logs(paths: list[str]) -> list[str]:
    """Return which of a job's logs are text: an executed notebook is none."""
    return [path for path in paths if not path.endswith(".ipynb")]
