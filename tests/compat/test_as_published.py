"""Bits/dim as the codes evaluate their own checkpoints."""

import json
import math
import os
from pathlib import Path

import numpy as np
import pytest
import torch
from made_up import state_dict

from marscf.cli import main
from marscf.compat.code import Foreign
from marscf.compat.importing import CODES, import_checkpoint, read_checkpoint
from marscf.data import arrays
from marscf.errors import CheckpointError
from marscf.evaluation.measured import read_per_image
from marscf.evaluation.sampling import seeded
from marscf.files import read_json, seed_from, sha256_file
from marscf.models import load
from marscf.models.base import Estimate

PARITY = Path(os.environ.get("MARSCF_PARITY") or "/nowhere")
IMAGES = 131  # test images: one batch of 128 and a partial one


@pytest.fixture
def dataset(tmp_path, monkeypatch):
    """A working directory with a prepared `cifar10` of random images, and no configuration."""
    monkeypatch.chdir(tmp_path)
    folder = Path("data/datasets/cifar10")
    folder.mkdir(parents=True)
    splits = {}
    for seed, (name, count) in enumerate({"train": 8, "val": 8, "test": IMAGES}.items()):
        images = np.random.default_rng(seed).integers(0, 256, (count, 3, 32, 32), dtype=np.uint8)
        np.save(folder / f"{name}.npy", images)
        sha256 = sha256_file(folder / f"{name}.npy")
        splits[name] = {"file": f"{name}.npy", "count": count, "sha256": sha256, "digest": ""}
    manifest = {
        "name": "cifar10",
        "shape": [3, 32, 32],
        "grey_levels": 256,
        "release": None,
        "splits": splits,
    }
    manifest["digest"] = arrays.dataset_digest(manifest)
    (folder / "manifest.json").write_text(json.dumps(manifest))


def imported(coupling: str) -> Path:
    """A run of a made-up checkpoint of mAR-SCF's, with one step at each of two levels."""
    name, run = f"marscf_cifar10_{coupling}_1_4.pt", Path(f"data/runs/x/cifar10/marscf-{coupling}/seed0")
    torch.manual_seed(1)
    torch.save(state_dict(coupling, 2, 1, 4, lstm=4, layers=1, blocks=1, components=2), name)
    import_checkpoint(Foreign(Path(name), "mar-scf"), run)
    return run


def measured(run: Path, *more: str) -> dict:
    """The measurement, which is a trial where there is an option."""
    assert main(["evaluate", "as-published", str(run), *more]) in (0, None)
    (entry,) = read_json(run / ("trial-as_published.json" if more else "as_published.json"))["measurements"]
    return entry


def bits_of_first(run: Path, count: int) -> float:
    scores = read_per_image(run)
    return float(scores.bits_per_dim[:count].mean())


def test_affine_leaves_out_the_last_partial_batch_and_takes_the_scores_that_are_there(dataset, capsys):
    run = imported("affine")
    assert main(["evaluate", "as-published", str(run)]) == 2
    assert f"first measure all images: marscf evaluate likelihood {run}" in capsys.readouterr().err
    main(["evaluate", "likelihood", str(run), "--draws", "1", "--report"])
    entry = measured(run)
    assert entry["metric"] == "bits_per_dim[as published]" and entry["n"] == 128
    assert entry["value"] == pytest.approx(bits_of_first(run, 128), rel=1e-12)
    assert "a last partial batch of 128 left out, 128 of 131 test images" in entry["protocol"]
    assert measured(run, "--images", "20")["value"] == pytest.approx(bits_of_first(run, 20), rel=1e-12)
    assert measured(run, "--images", "130")["n"] == 130  # chosen by the caller: none is left out


def test_mixlogcdf_keeps_dropout_on_and_gives_one_number_twice(dataset):
    run = imported("mixlogcdf")
    main(["evaluate", "likelihood", str(run), "--draws", "1", "--report"])
    entry = measured(run)
    assert entry["n"] == 128 and "dropout on, a last partial batch of 64 left out" in entry["protocol"]
    assert measured(run) == entry
    assert measured(run, "--seed", "1")["value"] != entry["value"]
    assert read_json(run / "as_published.json")["measurements"] == [entry]
    # By hand: the first batch in training mode, with the same random numbers.
    model, images = load(run).train(), torch.from_numpy(np.load("data/datasets/cifar10/test.npy")[:128])
    generators = [torch.Generator().manual_seed(seed_from("noise", 0, i)) for i in range(128)]
    noise = torch.cat([model.draw_noise(1, generator) for generator in generators])
    nats = []
    for start in (0, 64):
        with seeded("likelihood", 0, start, 0), torch.no_grad():
            nats.append(model.log_prob(images[start : start + 64], noise[start : start + 64]))
    assert entry["value"] == pytest.approx(-torch.cat(nats).mean().item() / (3072 * math.log(2)), rel=1e-6)
    assert entry["value"] != pytest.approx(bits_of_first(run, 128), rel=1e-6)  # dropout changes it


@pytest.mark.skipif(not PARITY.is_dir(), reason="set MARSCF_PARITY to a folder with the authors' numbers")
def test_residual_flow_s_own_estimator_has_the_mean_and_the_spread_of_its_code():
    path = PARITY / "residual-flows" / "mnist_resflow_2-2-2.pth"
    record = np.load(path.with_suffix(".npz"))
    model, config = read_checkpoint(Foreign(path, "residual-flows"))
    CODES["residual-flows"].own_protocol(config).prepare(model)
    x, u = torch.from_numpy(record["x_uint8"]), torch.from_numpy(record["u"])
    with torch.no_grad():
        drawn = torch.stack([-model.log_prob(x, u, Estimate(1, index)) for index in range(24)])
    bits = (drawn.double() / (784 * math.log(2))).numpy()
    spread = bits.std(axis=0, ddof=1)
    error = np.abs(bits.mean(axis=0) - record["bits_per_dim_float64"]) / (spread / math.sqrt(24))
    assert error.max() < 4
    theirs = record["log_det_estimate_se"] * math.sqrt(24) / (784 * math.log(2))
    assert spread.mean() == pytest.approx(theirs.mean(), rel=0.3)


def test_altered_weights_are_refused_with_the_command_that_imports_them(dataset):
    run = imported("affine")
    weights = bytearray((run / "weights.safetensors").read_bytes())
    weights[-1] ^= 1
    (run / "weights.safetensors").write_bytes(weights)
    with pytest.raises(CheckpointError, match=f"receipt tells of .*run: marscf checkpoints --run {run}"):
        load(run)


@pytest.mark.parametrize("receipt", [{}, {"imported_code": "glow-pytorch"}])
def test_nothing_is_measured_where_the_protocol_is_ours(dataset, receipt, capsys):
    run = imported("affine")
    path = run / "receipt.json"
    content = {k: v for k, v in read_json(path).items() if k != "imported_code"}
    path.write_text(json.dumps({**content, **receipt}))
    assert main(["evaluate", "as-published", str(run)]) in (0, None)
    assert "nothing was measured" in capsys.readouterr().out
    assert read_json(run / "as_published.json")["measurements"] == []
