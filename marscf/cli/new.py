"""`marscf new NAME`: a flow of one's own, from templates that run."""

import argparse
import importlib.util
import keyword
import re
from importlib.resources import files
from pathlib import Path

from marscf.errors import ConfigError
from marscf.files import replacing

#: Template -> where its copy goes; `my-flow`, `my_flow` and `MyFlow` become the new name.
COPIES = {
    "my_flow.py": "my_flow.py",
    "my-flow.yaml": "config/systems/my-flow.yaml",
    "test_my_flow.py": "tests/models/test_my_flow.py",
}


def configure(parser: argparse.ArgumentParser) -> None:
    """Add the arguments of `marscf new`."""
    parser.add_argument("name", metavar="NAME", help="small letters, digits and dashes, as my-flow")
    parser.epilog = """example:
  marscf new my-flow
writes  my_flow.py                       the model, beside the Snakefile: a coupling, a prior, the flow
        config/systems/my-flow.yaml      its options and how it is trained
        tests/models/test_my_flow.py     its test
It runs as it is. snakemake --cores all --config systems=my-flow,glow has it in the tables; it takes about
a minute to train. A file that is there is never written over."""


def run(args: argparse.Namespace) -> None:
    """Write the three files and say what to do with them."""
    name = args.name
    names = {"my-flow": name, "my_flow": name.replace("-", "_"), "MyFlow": _title(name)}
    _check(name, names["my_flow"])
    texts = {}
    for template, place in COPIES.items():
        path = Path(_renamed(place, names))
        if path.exists():
            raise ConfigError(f"{path} is there already; choose another name, or remove it")
        texts[path] = _renamed(
            files("marscf.templates").joinpath(template).read_text(encoding="utf-8"), names
        )
    for path, text in texts.items():
        path.parent.mkdir(parents=True, exist_ok=True)
        with replacing(path) as temporary:
            temporary.write_text(text, encoding="utf-8")
        print(path)
    print(f"Train, measure and draw it: snakemake --cores all --config systems={name},glow")
    print(f"Test it: python -m pytest tests/models/test_{names['my_flow']}.py")


def _check(name: str, module: str) -> None:
    """Raise `ConfigError` for a name that cannot be a system's and a module's."""
    if not Path("config/systems").is_dir():
        raise ConfigError("no folder config/systems; run from the repository's root")
    if not re.fullmatch(r"[a-z][a-z0-9]*(-[a-z0-9]+)*", name) or keyword.iskeyword(module):
        raise ConfigError(f"{name!r} is no name for a system: small letters, digits and dashes, as my-flow")
    own = Path(f"{module}.py").exists()  # `run` names the file
    if not own and (importlib.util.find_spec(module) or importlib.util.find_spec(f"marscf.models.{module}")):
        raise ConfigError(f"{name}: Python has a module {module!r} already; choose another name")


def _title(name: str) -> str:
    return "".join(part.capitalize() for part in name.split("-"))


def _renamed(text: str, names: dict[str, str]) -> str:
    """Put the new names in the place of the templates', all at once."""
    return re.sub("|".join(names), lambda found: names[found[0]], text)
