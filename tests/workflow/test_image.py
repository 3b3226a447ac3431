"""The recipe of the container's image: what it names is there, and make finds its packages."""

import os
import re
import subprocess
from pathlib import Path

ROOT = Path(__file__).parents[2]
RECIPE = (ROOT / "Dockerfile").read_text().replace("\\\n", " ")


def test_what_the_recipe_copies_and_installs_is_there():
    copied = [line.split()[1] for line in RECIPE.splitlines() if line.startswith("COPY")]
    assert copied == ["requirements.lock", "."] and (ROOT / "requirements.lock").is_file()
    ignored = (ROOT / ".dockerignore").read_text().split()
    assert {".venv", "data"} <= set(ignored) and not {"marscf", "config", "workflow", "Snakefile"} & set(
        ignored
    )
    minor = re.search(r"^FROM python:3\.(\d+)-", RECIPE, re.MULTILINE)[1]
    assert f'requires-python = ">=3.{minor}"' in (ROOT / "pyproject.toml").read_text()


def test_make_takes_the_images_packages(tmp_path):
    """`VENV` of the environment counts, and nothing is installed again where `.ready` is there."""
    (tmp_path / ".ready").touch()
    environment = {**os.environ, "VENV": str(tmp_path)}
    assert "ENV VENV=/opt/venv" in RECIPE and "touch /opt/venv/.ready" in RECIPE
    done = subprocess.run(
        ["make", "--dry-run", "reproduce"],
        cwd=ROOT,
        env=environment,
        capture_output=True,
        text=True,
        check=True,
    )
    assert f"{tmp_path}/bin/snakemake --cores all" in done.stdout and "pip" not in done.stdout
