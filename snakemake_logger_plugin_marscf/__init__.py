"""What `snakemake` says on the terminal here: a few lines that a person can follow.

What runs now, how many jobs are done, the time left, bits/dim as they come, warnings. On a terminal it is a
live bar, elsewhere plain lines. Snakemake's own log is as long as ever: it goes to the file that is named at
the end. A dry run is as Snakemake prints it, and so is all with `--verbose`.

Snakemake finds this package by its name, and `workflow/profiles/default` chooses it.
"""

from snakemake_logger_plugin_marscf.handler import LogHandler

__all__ = ["LogHandler"]
