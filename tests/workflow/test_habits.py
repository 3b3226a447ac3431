"""Lint, the hooks before a commit, and continuous integration."""

import re
from pathlib import Path

import pytest

from marscf.config import read_yaml

REPOSITORY = Path(__file__).parents[2]
WORKFLOWS = sorted((REPOSITORY / ".github" / "workflows").glob("*.yml"))


def test_the_hooks_call_what_make_lint_calls():
    makefile = (REPOSITORY / "Makefile").read_text()
    recipe = re.search(r"^lint:.*\n((?:\t.*\n)+)", makefile, re.MULTILINE)[1]
    lint = {
        re.sub(r"\s*\$\(\w+_FILES\)", "", line.strip()).removeprefix("$(BIN)/")
        for line in recipe.splitlines()
    }
    hooks = read_yaml(REPOSITORY / ".pre-commit-config.yaml")["repos"][0]["hooks"]
    assert {hook["entry"].removeprefix(".venv/bin/") for hook in hooks} == lint


@pytest.mark.parametrize("path", WORKFLOWS, ids=lambda path: path.stem)
def test_actions_are_pinned_and_what_may_write_runs_no_code_of_a_pull_request(path):
    workflow = read_yaml(path)
    jobs = workflow["jobs"].values()
    for job in jobs:
        for step in job["steps"]:
            assert re.fullmatch(r"[\w./-]+@[0-9a-f]{40}", step.get("uses", "actions/none@" + "0" * 40))
    granted = [workflow["permissions"], *(job.get("permissions", {}) for job in jobs)]
    if any("write" in given.values() for given in granted):
        text = path.read_text()
        assert "workflow_run:" in text and "checkout" not in text and "make " not in text
