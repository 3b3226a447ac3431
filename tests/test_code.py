"""The code behind a number: edits planted in a copy of the package, and the digests that they change."""

import ast
import importlib.util
import shutil
import sys
from pathlib import Path
from types import ModuleType

import pytest

from marscf import code

GLOW, FLOWPP, PIXELCNN = "multiscale_flow.MultiScaleFlow", "flowpp.FlowPP", "pixelcnn.PixelCNN"
OF_MODELS = ("train", "likelihood", "fidelity", "sample", "interpolate", "latents", "sampling-speed")


@pytest.fixture
def package(tmp_path: Path) -> Path:
    """A copy of the package."""
    return Path(shutil.copytree(code.PACKAGE, tmp_path / "marscf", ignore=shutil.ignore_patterns("*.pyc")))


def digests(package: Path) -> dict[tuple[str, str], str]:
    """The digest of every stage and model, by the copy's own module, read afresh."""
    copy = afresh(package)
    found = {(stage, model): copy.behind(stage, model) for stage in OF_MODELS for model in (GLOW, FLOWPP)}
    return found | {(stage, ""): copy.behind(stage) for stage in copy.STAGES.keys() - set(OF_MODELS)}


def afresh(package: Path) -> ModuleType:
    spec = importlib.util.spec_from_file_location("code_of_the_copy", package / "code.py")
    assert spec and spec.loader
    module = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = module  # dataclasses look it up
    spec.loader.exec_module(module)
    return module


def changed(package: Path, before: dict[tuple[str, str], str]) -> dict[str, set[str]]:
    """The stages whose digest is another now, each with the models."""
    found: dict[str, set[str]] = {}
    for (stage, model), digest in digests(package).items():
        if digest != before[stage, model]:
            found.setdefault(stage, set()).add(model)
    return found


def replace(path: Path, node: ast.expr | ast.stmt, text: str) -> None:
    """Put `text` in the place of a node of a file."""
    lines = path.read_bytes().splitlines(keepends=True)
    first, last = node.lineno - 1, node.end_lineno - 1
    head, tail = lines[first][: node.col_offset], lines[last][node.end_col_offset :]
    path.write_bytes(b"".join([*lines[:first], head + text.encode() + tail, *lines[last + 1 :]]))


def other_operator(path: Path) -> None:
    """Change an operator: the first of a file's functions."""
    nodes = ast.walk(ast.parse(path.read_text()))
    node = next(node for node in nodes if isinstance(node, ast.BinOp) and not isinstance(node.op, ast.BitOr))
    sign = "-" if isinstance(node.op, ast.Add) else "+"
    replace(path, node, f"({ast.unparse(node.left)}) {sign} ({ast.unparse(node.right)})")


def other_words(path: Path) -> int:
    """Change docstrings, messages of errors and annotations of arguments, add a comment; return how many."""
    tree = ast.parse(path.read_text())
    places: list[tuple[ast.expr, str]] = []
    for node in ast.walk(tree):
        if isinstance(node, ast.Expr) and isinstance(node.value, ast.Constant):
            if isinstance(node.value.value, str):
                places.append((node.value, '"""Other words."""'))
        elif isinstance(node, ast.Raise) and isinstance(node.exc, ast.Call) and node.exc.args:
            if isinstance(node.exc.args[0], (ast.Constant, ast.JoinedStr)):
                places.append((node.exc.args[0], '"another message"'))
        elif isinstance(node, ast.arg) and node.annotation:
            places.append((node.annotation, '"another type"'))
    for node, text in sorted(places, key=lambda place: (place[0].lineno, place[0].col_offset), reverse=True):
        replace(path, node, text)
    path.write_text("# A comment.\n" + path.read_text() + "\n\n# Another.\n")
    return len(places)


def test_words_change_no_digest(package):
    """In every file that a digest covers."""
    before = digests(package)
    copy = afresh(package)
    files = {path for stage in copy.STAGES for path in copy.sources(stage, GLOW, FLOWPP).values()}
    count = sum(other_words(path) for path in files if path.suffix == ".py")
    assert count > 500
    assert changed(package, before) == {}


@pytest.mark.parametrize(
    ("module", "stages"),
    [
        ("flows/actnorm.py", {*OF_MODELS, "as-published"}),
        ("evaluation/likelihood.py", {"likelihood", "as-published"}),
        ("evaluation/fidelity.py", {"fidelity", "floor"}),
        ("evaluation/digits_net.py", {"extractor", "features", "fidelity", "floor", "interpolate"}),
        ("studies/latents.py", {"latents"}),
        ("studies/interpolation_walk.py", {"interpolate"}),
        ("reporting/index.py", {"page"}),
    ],
)
def test_an_operator_changes_the_digest_of_what_computes_with_it(package, module, stages):
    before = digests(package)
    other_operator(package / module)
    assert set(changed(package, before)) == stages


def test_an_operator_of_a_kernel_changes_what_computes_with_it(package):
    copy = afresh(package)
    before = digests(package)
    rooms = ("marscf.kernels.", "marscf.gpu.")
    kernels = [path for name, path in copy.sources("likelihood", FLOWPP).items() if name.startswith(rooms)]
    for path in kernels:
        if "+" in path.read_text():
            other_operator(path)
            break
    assert {stage for stage, of in changed(package, before).items() if FLOWPP in of} >= {
        "likelihood",
        "sample",
    }


def test_an_edit_of_one_model_leaves_the_others_alone(package):
    before = digests(package)
    other_operator(package / "models/flowpp.py")
    found = changed(package, before)
    assert set(found) >= set(OF_MODELS)
    assert all(models == {FLOWPP} for models in found.values())


def test_new_files_and_commands_change_nothing(package):
    before = digests(package)
    (package / "models/mine.py").write_text('"""A model."""\n')
    (package / "reporting/notes.txt").write_text("named by nobody")
    for command in (package / "cli").glob("*.py"):
        command.write_text(command.read_text() + "\nX = 1 + 1\n")
    assert changed(package, before) == {}


@pytest.mark.parametrize(
    ("file", "stages"),
    [
        ("published.csv", {"collect", "page"}),
        ("page.html", {"page"}),
        ("page.css", {"page"}),
        ("page.js", {"page"}),
    ],
)
def test_data_files_count_where_they_are_read(package, file, stages):
    before = digests(package)
    path = package / "reporting" / file
    path.write_text(path.read_text() + "\n")
    assert set(changed(package, before)) == stages


def test_a_model_of_the_user_s_own_with_what_it_imports(tmp_path, monkeypatch):
    (tmp_path / "my_models").mkdir()
    (tmp_path / "my_models/__init__.py").touch()
    (tmp_path / "my_models/net.py").write_text("from . import parts\nimport numpy\n\nimport my_constants\n")
    (tmp_path / "my_models/parts.py").write_text("def double(x):\n    return 2 * x\n")
    (tmp_path / "my_constants.py").write_text("from marscf.flows import squeeze\n")
    monkeypatch.syspath_prepend(tmp_path)
    found = set(code.sources("sample", "my_models.net.Net"))
    expected = {"my_models", "my_models.net", "my_models.parts", "my_constants", "marscf.flows.squeeze"}
    assert found - set(code.sources("sample")) >= expected
    assert not [name for name in found if name.startswith(("numpy", "torch"))]


def test_a_class_and_its_name_are_the_same():
    from marscf.models.pixelcnn import PixelCNN

    assert code.behind("sample", PixelCNN) == code.behind("sample", PIXELCNN)


def test_no_stage_covers_commands_or_training():
    models = [f"{path.stem}.X" for path in (code.PACKAGE / "models").glob("[a-z]*.py")]
    for stage in code.STAGES.keys() - {"train"}:
        covered = code.sources(stage, *models)
        assert not [name for name in covered if name.startswith(("marscf.cli", "marscf.training"))], stage
