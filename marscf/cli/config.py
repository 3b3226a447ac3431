"""`marscf config RUN`: a run's config, and where each value of it was set."""

import argparse
import json
from pathlib import Path

from marscf.files import read_json
from marscf.runs import CONFIG, run_config
from marscf.settings import RunConfig

DEFAULT = "default of the code"


def configure(parser: argparse.ArgumentParser) -> None:
    """Add the arguments of `marscf config`."""
    parser.add_argument("run", metavar="RUN", help="data/runs/<scale>/<dataset>/<system>/seed<k>")
    parser.add_argument("--json", action="store_true", help="print the values alone, as JSON")
    parser.epilog = (
        "examples:\n"
        "  marscf config data/runs/quick/digits/glow/seed0\n"
        "  marscf config --json data/runs/quick/digits/glow/seed0 > config.json\n"
        "In the run's folder on a machine with little but torch and numpy, `marscf train` reads config.json."
    )


def run(args: argparse.Namespace) -> None:
    """Print each value with the file that set it, or the config as JSON."""
    config = run_config(args.run)
    values = config.to_json()
    if args.json:
        print(json.dumps(values, indent=1))
        return
    sources = _sources(Path(args.run), config)
    shown = {name: json.dumps(value, ensure_ascii=False) for name, value in flat(values).items()}
    names, width = max(map(len, shown)), max(map(len, shown.values()))
    for name, value in shown.items():
        print(f"{name:<{names}}  {value:<{width}}  {sources.get(name, DEFAULT)}")


def flat(config: dict[str, object], place: str = "") -> dict[str, object]:
    """Return the values of nested tables by their dotted names."""
    found: dict[str, object] = {}
    for name, value in config.items():
        found |= flat(value, f"{place}{name}.") if isinstance(value, dict) else {place + name: value}
    return found


def _sources(path: Path, config: RunConfig) -> dict[str, str]:
    """Return where each value comes from, by its dotted name; a default comes from no file."""
    if (path / CONFIG).is_file():
        return dict.fromkeys(flat(read_json(path / CONFIG)), str(path / CONFIG))
    from marscf.config import load_config, provenance  # needs pydantic, and the case above does not

    return provenance(load_config(), config)
