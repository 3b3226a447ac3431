"""A copy of the repository whose scale `quick` is made tiny, and how to call things in it."""

import os
import shutil
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

import pytest
import yaml

REPOSITORY = Path(__file__).parents[2]
TINY = {
    "training": {
        "steps": 4,
        "batch_size": 16,
        "warmup_images": 16,
        "validate_every": 2,
        "validation_images": 32,
    },
    "evaluation": {"draws": 1, "importance_samples": 2, "images": 64, "grid": 9},
    "fidelity": {"samples": 100, "batch_size": 50},
    "sampling_speed": {"sides": [8, 16], "batch_size": 2, "repeats": 2, "budget_seconds": 1},
    "interpolation": {
        **{"pairs": 2, "score_pairs": 4, "validation_pairs": 2, "points": 3, "iterations": 2},
        "lambdas": [0.35],
    },
}


@dataclass(frozen=True)
class Checkout:
    """A folder with the repository's files, and how to call things in it."""

    root: Path

    def call(self, *command: str, check: bool = True, **environment: str) -> subprocess.CompletedProcess[str]:
        """Run a command as a user with the environment activated does."""
        result = subprocess.run(
            command, cwd=self.root, env=self.environment(**environment), capture_output=True, text=True
        )
        if check and result.returncode:
            pytest.fail(
                f"{' '.join(command)}: exit code {result.returncode}\n{result.stdout}\n{result.stderr}"
            )
        return result

    def environment(self, **more: str) -> dict[str, str]:
        """This Python's scripts, this checkout's package, no dataset host."""
        return {
            **os.environ,
            "PATH": f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}",
            "PYTHONPATH": str(self.root),
            "MARSCF_OFFLINE": "1",
            "OMP_NUM_THREADS": "1",
            **more,
        }

    def snakemake(self, *arguments: str, check: bool = True) -> subprocess.CompletedProcess[str]:
        """Run Snakemake on both cores."""
        return self.call("snakemake", "--cores", "2", *arguments, check=check)

    def change(self, file: str, keys: dict) -> None:
        """Set nested keys of a YAML file."""
        path = self.root / file
        path.write_text(yaml.safe_dump(merged(load(path), keys)))

    def planned(self, *arguments: str) -> set[str]:
        """The outputs of the jobs that a dry run would start, `{}` where it says there is nothing to do."""
        text = self.snakemake("--dry-run", *arguments)
        lines = (text.stdout + text.stderr).splitlines()
        found = [line.split(": ", 1)[1].split(", ") for line in lines if line.strip().startswith("output: ")]
        nothing = any("Nothing to be done" in line for line in lines)
        assert nothing == (not found), "\n".join(lines)
        return {name for names in found for name in names}


def copy_repository(root: Path) -> Checkout:
    """Copy the files that git knows or would add, and make the scale `quick` tiny."""
    listed = subprocess.run(
        ["git", "ls-files", "--cached", "--others", "--exclude-standard", "-z"],
        cwd=REPOSITORY,
        capture_output=True,
        text=True,
        check=True,
    ).stdout
    for name in filter(None, listed.split("\0")):
        source, target = REPOSITORY / name, root / name
        target.parent.mkdir(parents=True, exist_ok=True)
        if source.is_symlink():
            target.symlink_to(os.readlink(source))
        elif source.is_file():
            shutil.copyfile(source, target)
    make_tiny(root / "config")
    return Checkout(root)


SEVERAL = "marscf-mixlogcdf"  # the system that keeps its seeds


def make_tiny(config: Path) -> None:
    """Rewrite the scale `quick` so that each stage takes seconds."""
    path = config / "scales" / "quick.yaml"
    scale = load(path)
    scale["training"] |= TINY["training"]
    scale["evaluation"] |= TINY["evaluation"]
    scale["evaluation"]["fidelity"] |= TINY["fidelity"]
    scale["studies"]["sampling_speed"] |= TINY["sampling_speed"]
    for study in scale["studies"]["interpolation"]:
        study |= TINY["interpolation"]
    path.write_text(yaml.safe_dump(scale))
    for path in (config / "systems").glob("*.yaml"):
        system = load(path)
        system.pop("training", None)
        at_quick = system.get("scales", {}).get("quick", {})
        at_quick.pop("training", None)
        if system["name"] != SEVERAL:
            at_quick.pop("seeds", None)
        path.write_text(yaml.safe_dump(system))


def merged(value: dict, keys: dict) -> dict:
    """`value` with the nested keys of `keys`."""
    if not isinstance(keys, dict):
        return keys
    return {**value, **{key: merged(value.get(key, {}), part) for key, part in keys.items()}}


def load(path: Path) -> dict:
    """Read YAML as `marscf.config` does: 8e-4 is a number."""
    from marscf.config import read_yaml

    return read_yaml(path)
