"""The `marscf` command: one subcommand a stage, files in, files out.

Each stage's module owns its arguments: `configure(parser)` adds them, `run(args)` does the work and returns
None or an exit code. Modules are imported only when called, so `marscf --help` is quick.
"""

import argparse
import importlib
import io
import os
import sys
from pathlib import Path
from typing import NoReturn

from marscf import __version__
from marscf.errors import EXIT_INTERRUPTED, EXIT_USER_ERROR, MarscfError, full_disk, nearest, printable

COMMANDS = {
    "data": ("marscf.cli.data", "download or take from a mirror, verify, decode and split a dataset"),
    "plan": ("marscf.cli.plan", "what a scale will take: time, memory, disk, download, before it is begun"),
    "train": ("marscf.cli.train", "train one run, or go on with it"),
    "evaluate": (
        "marscf.cli.evaluate",
        "measure a run: likelihood (bits/dim), fidelity (FID, IS, KID, precision, recall)",
    ),
    "sample": ("marscf.cli.sample", "draw images from a run"),
    "study": (
        "marscf.cli.study",
        "sampling-speed (Fig. 7), interpolate (Figs. 11, 12), latents (correlation of channels)",
    ),
    "report": ("marscf.cli.report", "all measurements in one table, all results on one page"),
    "compare": ("marscf.cli.compare", "runs beside each other: their numbers, and what is more than chance"),
    "check": ("marscf.cli.check", "compare measurements with the reference; exit 1 if worse"),
    "config": ("marscf.cli.config", "print the config of a run, and which file set each value"),
    "checkpoints": ("marscf.cli.checkpoints", "fetch, list and import the published checkpoints"),
    "new": (
        "marscf.cli.new",
        "write a flow of your own: its model, config and test, from templates that run",
    ),
    "import": ("marscf.cli.import_checkpoint", "turn a checkpoint of another code into a run"),
    "shrink": ("marscf.cli.shrink", "store a run's weights in about half the space"),
    "tune": ("marscf.cli.tune", "try settings of training, the same for every system"),
    "bench": ("marscf.cli.bench", "measure training and sampling throughput against a reference mode"),
}


class Parser(argparse.ArgumentParser):
    """An argument parser whose errors are one line, without the usage before it."""

    def error(self, message: str) -> NoReturn:
        """Print the error and exit with the code of bad input."""
        self.exit(EXIT_USER_ERROR, f"{self.prog}: {printable(message)}; see {self.prog} --help\n")


EPILOG = """\
A RUN is a folder that says what it is, data/runs/<scale>/<dataset>/<system>/seed<k>; scales, datasets and
systems are files of config/, where every default is. In the order of the workflow:
  marscf data digits
  marscf train data/runs/quick/digits/glow/seed0
  marscf evaluate likelihood data/runs/quick/digits/glow/seed0
  marscf sample data/runs/quick/digits/glow/seed0 --out x.png
  marscf STAGE --help                        what a stage takes and leaves, with examples
All of a scale at once, report included: snakemake --cores all --config scale=quick

exit codes: 0 done; 1 a check failed; 2 bad input, in one line; 75 interrupted, call again"""


def main(argv: list[str] | None = None) -> int:
    """Run the command line and return its exit code."""
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):  # a terminal may lack letters; a file's name may be no text
            encoding = stream.encoding if stream.isatty() else "utf-8"
            stream.reconfigure(encoding=encoding, errors="backslashreplace")
    if Path("config").is_dir():  # own models lie beside it; last, so that they hide no library
        sys.path.append(os.getcwd())
    raw = argparse.RawDescriptionHelpFormatter
    about = "Normalizing flows for images, from data to report: one stage a call, files in, files out."
    parser = Parser(prog="marscf", description=about, epilog=EPILOG, formatter_class=raw)
    parser.add_argument("--version", action="version", version=f"marscf {__version__}")
    subparsers = parser.add_subparsers(dest="command", required=True, metavar="STAGE")
    arguments = sys.argv[1:] if argv is None else argv
    called = next((word for word in arguments if not word.startswith("-")), None)
    if called is not None and called not in COMMANDS:
        print(f"marscf: unknown stage {called!r:.100}{nearest(called, COMMANDS)}", file=sys.stderr)
        return EXIT_USER_ERROR
    for name, (module, help_line) in COMMANDS.items():
        command = subparsers.add_parser(name, help=help_line, description=help_line, formatter_class=raw)
        command.add_argument("--debug", action="store_true", help="show the traceback of an error")
        if name == called:  # only the stage that is called is imported
            stage = importlib.import_module(module)
            stage.configure(command)
    args = parser.parse_args(arguments)
    try:
        return stage.run(args) or 0
    except MarscfError as error:
        if args.debug:
            raise
        print(f"marscf {args.command}: {printable(error)}", file=sys.stderr)
        return error.exit_code
    except KeyboardInterrupt:
        print(f"marscf {args.command}: interrupted", file=sys.stderr)
        return EXIT_INTERRUPTED
    except BrokenPipeError:
        return 1
    except Exception as error:
        if args.debug or not (reason := full_disk(error)):
            raise
        place = f" ({error.filename})" if isinstance(error, OSError) and error.filename else ""
        print(
            f"marscf {args.command}: disk full{place}: {reason}; what was there is unchanged: make room and "
            "call again",
            file=sys.stderr,
        )
        return EXIT_USER_ERROR


if __name__ == "__main__":
    sys.exit(main())
