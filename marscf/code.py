"""The code behind a number: a digest that changes with what can change the number, and with nothing else.

    behind("likelihood", "multiscale_flow.MultiScaleFlow")

The rules of the workflow record it, and the caches have it in their keys. It covers the module where a stage
computes, the model's module, and all that they import: in this package, and in a user's own files. It leaves
out installed libraries, comments, docstrings, annotations of arguments, and the messages of errors.
"""

import ast
import functools
import hashlib
import importlib.util
import inspect
import sys
import sysconfig
from dataclasses import dataclass
from pathlib import Path

from marscf.errors import ConfigError

PACKAGE = Path(__file__).parent

#: Where each stage computes. The commands, which read arguments and print, are no part of it.
STAGES = {
    "train": "marscf.training.loop",
    "likelihood": "marscf.evaluation.measure_likelihood",
    "as-published": "marscf.evaluation.as_published",
    "fidelity": "marscf.evaluation.measure_fidelity",
    "floor": "marscf.evaluation.measure_fidelity",
    "sample": "marscf.evaluation.sampling",
    "features": "marscf.evaluation.extractors",
    "extractor": "marscf.evaluation.digits_net",
    "sampling-speed": "marscf.studies.sampling_speed",
    "interpolate": "marscf.studies.interpolation_study",
    "latents": "marscf.studies.latents",
    "collect": "marscf.reporting.collect",
    "figures": "marscf.reporting.catalogue.product",
    "page": "marscf.reporting.index",
}
#: Not followed, like `marscf` itself, which has the version. The configuration's values are recorded beside
#: the digest; the others change no number.
LEFT_OUT = (
    *("marscf.config.", "marscf.options.", "marscf.settings.", "marscf.runs."),
    *("marscf.code.", "marscf.errors.", "marscf.environment.", "marscf.data.download."),
)
LIBRARIES = {Path(sysconfig.get_path(name)) for name in ("stdlib", "platstdlib", "purelib", "platlib")}


@functools.cache
def behind(stage: str, *models: str | type) -> str:
    """Return the digest of the code that can change a stage's numbers of these models.

    A model is its class, or `module.Class` as in its system's file. For figures it is the drawing function.
    """
    files = sources(stage, *models)
    lines = [f"{name} {_read(path).digest}" for name, path in sorted(files.items())]
    return hashlib.sha256("\n".join(lines).encode()).hexdigest()[:16]


def sources(stage: str, *models: str | type) -> dict[str, Path]:
    """Return the files that the digest covers, by name: modules, and the data files that they name."""
    waiting = [_module(STAGES[stage]), *map(_model, models)]
    followed = frozenset(name.partition(".")[0] for name, _ in waiting)
    found: dict[str, Path] = {}
    while waiting:
        name, path = waiting.pop()
        if name not in found and name != "marscf" and not f"{name}.".startswith(LEFT_OUT):
            found[name] = path
            modules, data = _needs(name, path, followed)
            waiting += modules
            found |= data
    return found


@functools.cache
def _needs(name: str, path: Path, followed: frozenset[str]) -> tuple[list[tuple[str, Path]], dict[str, Path]]:
    """Return the modules that a module imports, with its package, and the data files that it names."""
    package = name if path.name == "__init__.py" else name.rpartition(".")[0]
    source = _read(path)
    modules = [importlib.util.resolve_name("." * dots + module, package) for dots, module in source.imports]
    found = [(module, file) for module in (package, *modules) if (file := _find(module, followed))]
    beside = [file for file in sorted(path.parent.iterdir()) if file.suffix != ".py" and file.is_file()]
    data: dict[str, Path] = {}
    texts = source.texts
    while more := [file for file in beside if file.name in texts and f"{package}/{file.name}" not in data]:
        data |= {f"{package}/{file.name}": file for file in more}
        texts = "\n".join(_read(file).texts for file in more)  # a page names its style sheet
    return found, data


def _model(model: str | type) -> tuple[str, Path]:
    """Return the name and the file of a model's module."""
    if isinstance(model, type):
        return model.__module__, Path(inspect.getfile(model))
    module = model.rpartition(".")[0]
    own = f"marscf.models.{module}"
    return _module(own if _find(own, frozenset(["marscf"])) else module)


def _module(name: str) -> tuple[str, Path]:
    """Return a module's name and its file."""
    path = _find(name, frozenset([name.partition(".")[0]]))
    if path is None:
        raise ConfigError(f"no module {name!r}, whose code a number depends on")
    return name, path


def _find(module: str, followed: frozenset[str]) -> Path | None:
    """Return a module's file; None for what is no module, and for a library's unless it is `followed`."""
    top, *rest = module.split(".")
    start = _top(top)
    if start is None or (top not in followed and not LIBRARIES.isdisjoint(start.parents)):
        return None
    if start.name != "__init__.py":
        return None if rest else start
    path = start.parent.joinpath(*rest)
    return next((file for file in (path / "__init__.py", path.with_suffix(".py")) if file.is_file()), None)


@functools.cache
def _top(name: str) -> Path | None:
    """Return the file of a top-level module; None where it has none in Python."""
    if name == "marscf":
        return PACKAGE / "__init__.py"
    try:
        spec = importlib.util.find_spec(name) if name not in sys.stdlib_module_names else None
    except (ImportError, ValueError):
        return None
    return Path(spec.origin) if spec and spec.origin and spec.origin.endswith(".py") else None


# ---- one file


@dataclass(frozen=True)
class Source:
    """A file as the digest sees it."""

    digest: str
    imports: list[tuple[int, str]]  # leading dots, and what may be a module
    texts: str  # in which names of data files may stand


@functools.cache
def _read(path: Path) -> Source:
    content = path.read_bytes()
    if path.suffix != ".py":
        return Source(hashlib.sha256(content).hexdigest(), [], content.decode(errors="replace"))
    tree = Essential().visit(ast.parse(content, str(path)))
    imports: list[tuple[int, str]] = []
    texts = []
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            imports += [(0, alias.name) for alias in node.names]
        elif isinstance(node, ast.ImportFrom):
            module = node.module or ""
            names = [module, *(f"{module}.{alias.name}".lstrip(".") for alias in node.names)]
            imports += [(node.level, name) for name in names if name]
        elif isinstance(node, ast.Constant) and isinstance(node.value, str):
            texts.append(node.value)
    return Source(hashlib.sha256(_written(tree).encode()).hexdigest(), imports, "\n".join(texts))


def _written(value: object) -> str:
    """Write a syntax tree down, without what is empty, so that each version of Python writes the same."""
    if isinstance(value, ast.AST):
        fields = [(name, part) for name, part in ast.iter_fields(value) if part is not None and part != []]
        return f"{type(value).__name__}({', '.join(f'{name}={_written(part)}' for name, part in fields)})"
    if isinstance(value, list):
        return f"[{', '.join(map(_written, value))}]"
    return repr(value)


class Essential(ast.NodeTransformer):
    """Removes from a syntax tree what changes no number."""

    def visit_Expr(self, node: ast.Expr) -> ast.AST | None:
        """Drop docstrings, and other texts that stand alone."""
        alone = isinstance(node.value, ast.Constant) and isinstance(node.value.value, str)
        return None if alone else self.generic_visit(node)

    def visit_arg(self, node: ast.arg) -> ast.AST:
        """Drop the annotation of an argument."""
        node.annotation = None
        return node

    def visit_FunctionDef(self, node: ast.FunctionDef) -> ast.AST:
        """Drop the annotation of what a function returns."""
        node.returns = None
        return self.generic_visit(node)

    def visit_AnnAssign(self, node: ast.AnnAssign) -> ast.AST | None:
        """Drop the annotation of a variable."""
        return None if node.value is None else self.visit(ast.Assign([node.target], node.value))

    def visit_ClassDef(self, node: ast.ClassDef) -> ast.AST:
        """Keep the annotations in a class: they make the fields of a dataclass."""
        parts = [part if isinstance(part, ast.AnnAssign) else self.visit(part) for part in node.body]
        node.body = [part for part in parts if part is not None]
        return node

    def visit_If(self, node: ast.If) -> ast.AST:
        """Drop what only a type checker sees."""
        if isinstance(node.test, ast.Name) and node.test.id == "TYPE_CHECKING":
            node.body = []
        return self.generic_visit(node)

    def visit_ImportFrom(self, node: ast.ImportFrom) -> ast.AST | None:
        """Drop imports that serve annotations."""
        return None if node.module in ("typing", "collections.abc", "__future__") else node

    def visit_Assign(self, node: ast.Assign) -> ast.AST | None:
        """Drop the version, which every release changes."""
        return (
            None if ast.unparse(node.targets[0]) in ("__version__", "__all__") else self.generic_visit(node)
        )

    def visit_Raise(self, node: ast.Raise) -> ast.AST:
        """Drop the words of an error."""
        return Wordless().visit(node)


class Wordless(ast.NodeTransformer):
    """Makes every text empty."""

    def visit_Constant(self, node: ast.Constant) -> ast.Constant:
        """Empty a text."""
        return ast.Constant("") if isinstance(node.value, str) else node

    def visit_JoinedStr(self, node: ast.JoinedStr) -> ast.Constant:
        """Empty a text with values in it."""
        return ast.Constant("")
