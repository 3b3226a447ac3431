"""A DVC remote in an S3 bucket: a run is pushed, and pulled elsewhere."""

import shutil

import pytest

import marscf

RUN = "data/runs/quick/digits/histogram/seed0"


@pytest.mark.long
def test_a_run_is_pushed_and_pulled(fresh_checkout, s3, tmp_path):
    for command in (["data", "digits"], ["train", RUN]):
        fresh_checkout.call("marscf", *command)
    origin, clone = type(fresh_checkout)(tmp_path / "origin"), type(fresh_checkout)(tmp_path / "clone")
    shutil.copytree(fresh_checkout.root / RUN, origin.root / RUN)
    for command in (
        *("git init --quiet", "git config user.name Tester", "git config user.email tester@example.org"),
        *("dvc init --quiet", f"dvc remote add --default store {s3}/store", f"dvc add --quiet {RUN}"),
        *("git add --all", "git commit --quiet --message=run", "dvc push"),
        f"git clone --quiet . {clone.root}",
    ):
        origin.call(*command.split())
    assert not (clone.root / RUN).exists()
    clone.call("dvc", "pull")
    files = sorted(path.name for path in (origin.root / RUN).iterdir())
    assert {"receipt.json", "weights.safetensors"} < set(files)
    assert sorted(path.name for path in (clone.root / RUN).iterdir()) == files
    for name in files:
        assert (clone.root / RUN / name).read_bytes() == (origin.root / RUN / name).read_bytes()
    assert marscf.load(clone.root / RUN / "weights.safetensors").shape == (1, 8, 8)
