"""The code blocks of README and `docs/`. The convention:

`bash` blocks run, in order, in a checkout that `make reproduce` has been called in. Lines `$ …` of `console`
blocks are too long to run or need another machine: Snakemake and make get them as dry runs, of `marscf` the
options are looked up. A `yaml` or `python` block is the content of the file named last before it.
"""

import os
import re
import shlex
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
DOCUMENTS = {
    str(path.relative_to(ROOT)): path.read_text()
    for path in [ROOT / "README.md", *sorted((ROOT / "docs").glob("**/*.md"))]
}
WIDTH = 120  # of a line of prose
BLOCK = re.compile(r"^( *)```(\w+)\n(.*?)^\1```", re.MULTILINE | re.DOTALL)


def blocks(document, *languages):
    """Yield (the text before, the content) of each block in these languages."""
    for found in BLOCK.finditer(document):
        indent, language, text = found.groups()
        if language in languages:
            yield document[: found.start()], re.sub(f"^{indent}", "", text, flags=re.MULTILINE)


def commands():
    texts = (text for document in DOCUMENTS.values() for _, text in blocks(document, "console"))
    lines = (line for text in texts for line in text.splitlines() if line.startswith("$ "))
    return list(dict.fromkeys(line.removeprefix("$ ") for line in lines))


def files():
    """The files whose content a document shows."""
    found = (block for document in DOCUMENTS.values() for block in blocks(document, "yaml", "python"))
    for before, text in found:
        names = re.findall(r"`((?:config|marscf)/[\w/.-]+\.(?:yaml|py))`", before)
        named = [name for name in names if name.endswith("mine.py" if "class " in text else "mine.yaml")]
        yield named[-1], text


@pytest.fixture(scope="module")
def extended(new_checkout, tmp_path_factory):
    """A checkout in which the documents' own examples of a model, a dataset and a scale stand."""
    copy = new_checkout(tmp_path_factory.mktemp("extended"))
    shown = dict(files())
    configs = {f"config/{kind}/mine.yaml" for kind in ("systems", "datasets", "scales")}
    assert {*configs, "marscf/models/mine.py"} <= set(shown)
    for name, text in shown.items():
        (copy.root / name).write_text(text)
    copy.call("marscf", "new", "my-flow")
    # read by the checkout's own package: it looks for the model among its own
    copy.call("python", "-c", "from marscf.config import load_config; load_config().dataset('mine')")
    return copy


def test_its_shell_blocks_run(reproduced):
    found = [text for document in DOCUMENTS.values() for _, text in blocks(document, "bash")]
    assert found
    for text in found:
        reproduced.call("bash", "-euo", "pipefail", "-c", text)


@pytest.mark.parametrize("command", commands())
def test_its_longer_commands_are_ones_that_can_be_given(extended, command):
    words = shlex.split(command, comments=True)
    program = words[0]
    if program == "snakemake":
        extended.planned(*words[1:])
    elif program == "make":
        extended.call("make", "--dry-run", "--old-file=.venv/.ready", *words[1:])
    elif "marscf" in words:
        stage, *arguments = words[words.index("marscf") + 1 :]
        if arguments and re.fullmatch(r"[a-z][a-z-]+", arguments[0]):
            stage_words = [stage, arguments[0]]
        else:
            stage_words = [stage]
        text = extended.call("marscf", *stage_words, "--help").stdout
        options = [word.partition("=")[0] for word in arguments if word.startswith("-")]
        assert not [option for option in options if option not in re.split(r"[\s,\[\]]+", text)]
    else:
        assert program in ("dvc", "git", "source", "cd", "pip", "tail"), f"no rule for testing {program!r}"


@pytest.mark.parametrize("document", DOCUMENTS)
def test_the_files_and_folders_it_names_are_there(reproduced, document):
    text, folder = DOCUMENTS[document], (reproduced.root / document).parent
    names = re.findall(r"`((?:config|marscf|reports|tests|workflow|docs)/[\w/.-]*)`", text)
    links = [link.partition("#")[0] for link in re.findall(r"\]\((?!http|#)([^)]+)\)", text)]
    shown = [name for name in names if "mine" not in name]
    assert shown or links
    assert not [name for name in shown if not (reproduced.root / name).exists()]
    assert not [link for link in links if not (folder / link).exists()]


@pytest.mark.parametrize("document", DOCUMENTS)
def test_its_lines_are_no_wider_than_a_reader_wants(document):
    prose = re.sub(r"```.*?```", "", DOCUMENTS[document], flags=re.DOTALL).splitlines()
    assert not [line for line in prose if len(line) > WIDTH and not line.startswith(("|", "!"))]


def test_the_site_is_built_and_its_links_have_their_places(tmp_path):
    command = [sys.executable, "-m", "mkdocs", "build", "--strict", "--quiet", "--site-dir", str(tmp_path)]
    environment = {**os.environ, "NO_MKDOCS_2_WARNING": "1"}
    done = subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, text=True)
    assert done.returncode == 0, done.stdout + done.stderr
    pages = {page: page.read_text() for page in tmp_path.glob("*.html")}
    assert {Path(document).stem for document in DOCUMENTS} - {"README"} <= {page.stem for page in pages}
    found = 0
    for page, text in pages.items():
        if page.name == "404.html":
            continue
        for link in re.findall(r'(?:href|src)="(?!https?:|mailto:|data:|#|\.")([^"#?]+)', text):
            assert (page.parent / link).exists(), f"{page.name}: {link}"
            found += 1
    assert found > 100
    assert "evaluate_likelihood" in pages[tmp_path / "api.html"]
    assert not [line for line in pages.values() if 'href="http://' in line]
