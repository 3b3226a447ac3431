"""All published checkpoints, from a mirror in the publishers' layouts."""

import os
import shutil
import zipfile
from pathlib import Path

import pytest
import torch
from made_up import state_dict

import marscf
from marscf.cli import main
from marscf.compat.index import FIRST, FOLDER, INDEX, published_runs
from marscf.config import loading
from marscf.files import read_json
from marscf.runs import Run

REPOSITORY = Path(__file__).parents[2]


@pytest.fixture
def mirror(tmp_path, monkeypatch):
    """A mirror with one archive of mAR-SCF's, in a working directory with the project's configuration."""
    monkeypatch.chdir(tmp_path)
    shutil.copytree(REPOSITORY / "config", "config")
    loading._load.cache_clear()
    folder = tmp_path / "mirror" / "mar-scf"
    folder.mkdir(parents=True)
    with zipfile.ZipFile(folder / "ckpts.zip", "w", zipfile.ZIP_DEFLATED) as archive:
        for channels in (4, 6):
            torch.save(state_dict("affine", 2, 1, channels, lstm=4, layers=1), tmp_path / "x.pt")
            archive.write(tmp_path / "x.pt", f"ckpts/marscf_cifar10_affine_1_{channels}.pt")
        archive.write(tmp_path / "x.pt", "ckpts/marscf_svhn_affine_1_6.pt")
        archive.writestr("ckpts/README.txt", "weights")
    yield folder.parent
    loading._load.cache_clear()


def call(mirror, *more):
    return main(["checkpoints", "--mirror", str(mirror), "--offline", *more])


def test_each_that_can_be_read_is_a_run_and_the_others_are_listed(mirror, capsys):
    assert call(mirror) == 0
    text = capsys.readouterr().out
    runs = [Run("published", "cifar10", "marscf-affine", seed) for seed in (0, 1)]
    assert [entry.run for entry in published_runs()] == [str(run.path) for run in runs]
    assert "left out: marscf_svhn_affine_1_6.pt" in text and "missing: glow-pytorch" in text
    for run, channels in zip(runs, (6, 4), strict=True):  # the largest first
        assert call(mirror, "--run", str(run.path)) == 0
        assert Run.from_path(run.path) == run
        assert "is not known: dataset 'cifar10' is not prepared" in capsys.readouterr().out
        receipt = read_json(run.path / "receipt.json")
        assert receipt["imported_from"] == f"marscf_cifar10_affine_1_{channels}.pt"
        assert marscf.load(run.path).sample(1).shape == (1, 3, 32, 32)
    assert call(mirror, "--run", "data/runs/published/cifar10/glow/seed0") == 2
    assert "is not a run of a published checkpoint" in capsys.readouterr().err


def test_a_file_that_changes_is_refused_until_it_is_accepted(mirror, capsys):
    assert call(mirror) == 0
    first = read_json(FOLDER / FIRST)["mar-scf"]
    with zipfile.ZipFile(mirror / "mar-scf" / "ckpts.zip", "a") as archive:
        archive.writestr("ckpts/more.txt", "more")
    capsys.readouterr()
    assert call(mirror) == 2
    error = capsys.readouterr().err
    assert "--accept mar-scf" in error and first[:16] in error and "\n" not in error.strip()
    assert call(mirror, "--accept", "mar-scf") == 0
    assert read_json(FOLDER / FIRST)["mar-scf"] != first
    assert len(read_json(FOLDER / INDEX)["runs"]) == 2 and call(mirror) == 0


def test_nothing_to_be_had_is_one_line(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    shutil.copytree(REPOSITORY / "config", "config")
    loading._load.cache_clear()
    (tmp_path / "empty").mkdir()
    assert call(tmp_path / "empty") == 2
    error = capsys.readouterr().err.strip()
    assert "no published checkpoint can be read" in error and "\n" not in error
    loading._load.cache_clear()


@pytest.mark.skipif(not os.environ.get("MARSCF_PARITY"), reason="set MARSCF_PARITY to the authors' numbers")
def test_the_three_codes_in_the_layouts_of_their_publishers(mirror, capsys):
    parity = Path(os.environ["MARSCF_PARITY"])
    for name in ("mnist", "cifar10"):
        folder = mirror / f"residual-flows-{name}"
        folder.mkdir()
        shutil.copy(
            parity / "residual-flows" / f"{name}_resflow_2-2-2.pth", folder / f"{name}_resflow_16-16-16.pth"
        )
    (mirror / "glow-pytorch").mkdir()
    with zipfile.ZipFile(mirror / "glow-pytorch" / "glow.zip", "w") as archive:
        for path in (parity / "glow-y0ast" / "glow").iterdir():
            if path.suffix != ".npz":
                archive.write(path, f"glow/{path.name}")
    with zipfile.ZipFile(mirror / "mar-scf" / "ckpts.zip", "w") as archive:
        for path in parity.glob("marscf_*.pt"):
            archive.write(path, path.name)
    assert call(mirror) == 0
    found = {Run.from_path(entry.run) for entry in published_runs()}
    assert found == {
        Run("published", dataset, system, 0)
        for dataset, system in [
            ("cifar10", "marscf-affine"),
            ("cifar10", "marscf-mixlogcdf"),
            ("cifar10", "residual-flow"),
            ("mnist-28", "residual-flow"),
            ("cifar10", "glow"),
        ]
    }
    for run in found:
        assert call(mirror, "--run", str(run.path)) == 0
