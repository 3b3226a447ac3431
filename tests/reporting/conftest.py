"""A working directory with finished runs, in the formats that the stages write, made in a moment."""

import json
import math
import os
import re
import shutil
from pathlib import Path

import numpy as np
import pytest
from interpolation_files import make_interpolation

REPOSITORY = Path(__file__).parents[2]
SYSTEMS = {"glow": 1.90, "marscf-affine": 1.80, "histogram": 2.40}  # bits/dim
DIMS, IMAGES = 64, 360


def measurements(values, n, protocol):
    return [
        {"metric": name, "value": value, "stderr": error, "n": n, "protocol": protocol}
        for name, (value, error) in values.items()
    ]


def write(path, value):
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(value))


def write_measured(path, value):
    from marscf.files import digest

    write(path, {**value, "digest": digest(value)})


def spread(system, seed, n):
    """How far a run's test images are from its mean: mean 0, standard error 1, similar in all runs."""
    own = np.random.default_rng([seed, *system.encode()]).normal(size=n)
    off = np.random.default_rng(0).normal(size=n) + 0.1 * own
    return (off - off.mean()) / off.std(ddof=1) * math.sqrt(n)


def make_run(root, system, bits, seed=0, scale="quick", dataset="digits", n=IMAGES, dims=DIMS):
    """Write what train, evaluate and sample leave of one run."""
    from marscf import seals
    from marscf.evaluation.measurements import PerImage, write_per_image
    from marscf.runs import config_hash, run_config

    path = Path("data/runs") / scale / dataset / system / f"seed{seed}"
    folder = root / path
    names = {"scale": scale, "dataset": dataset, "system": system, "seed": seed}
    config = run_config(path)
    trained = system != "histogram"
    write(
        folder / "receipt.json",
        {
            "config_hash": config_hash(config),
            **{
                "data_digest": "0" * 64,
                "weights_sha256": "1" * 64,
                "steps": 600 * trained,
                "parameters": 12345,
            },
            **{"best_validation_bits_per_dim": bits, "seconds": 61.5, "cpu_seconds": 60.0, "events": []},
            **{"train_images_per_second": 812.5 if trained else None, "peak_memory_bytes": 10**9},
            "code_version": "0.1.0",
            "host": {"cpu": "A CPU", "gpu": None, "threads": 1},
        },
    )
    nats = bits * math.log(2) * dims
    kind = "lower bound, uniform dequantisation, 8 draws" if trained else "exact"
    protocol = f"{kind}, {n} test images, dims {dims}, no image dropped, float32, noise seed 0"
    values = {
        "bits_per_dim": (bits, 0.01),
        "nats_per_image": (nats, 0.01 * math.log(2) * dims),
        "parameters": (12345.0, None),
    }
    values |= {"gflops_per_image": (0.002, None)} if trained else {}
    write_measured(
        folder / "likelihood.json", {"run": names, "measurements": measurements(values, n, protocol)}
    )
    scores = -nats - spread(system, seed, n) * 0.01 * dims * math.log(2)
    write_per_image(folder, PerImage(scores[:, None], 1, 0, dims, "0" * 64))
    values = {"fid[digits-net]": (20 * bits, None), "kid[digits-net]": (0.02 * bits, 0.001)}
    values["inception_score[digits-net]"] = (9 - bits, 0.1)
    values |= {"precision[digits-net]": (0.3 / bits, 0.01), "recall[digits-net]": (0.9 - 0.1 * bits, 0.01)}
    card = "digits-net abcdef012345 (test accuracy 0.986, no resize), 1000 samples, reference train"
    write_measured(folder / "fidelity.json", {"run": names, "measurements": measurements(values, 1000, card)})
    shape = config.data.shape
    random = np.random.default_rng(seed)
    images = random.integers(0, config.data.grey_levels, (64, *shape), dtype=np.uint8)
    np.save(folder / "samples.npy", images)
    seals.seal(folder / seals.SAMPLES, [folder / "samples.npy"], weights_sha256="1" * 64)
    correlation = np.corrcoef(random.normal(size=(8, 100)))
    latents = folder / "latent_correlation.npz"
    np.savez(latents, latent=correlation, residual=correlation**3, images=100)
    seals.seal(folder / seals.LATENTS, [latents], weights_sha256="1" * 64, data_digest="0" * 64)
    if trained:
        lines = []
        for step in range(20, 601, 20):
            line = {"step": step, "images": 64 * step, "train_bits_per_dim": bits + 30 / step}
            if step % 100 == 0:
                line["validation_bits_per_dim"] = bits + 35 / step
            lines.append({**line, "learning_rate": 2e-3, "gradient_norm": 1.0, "seconds": step / 10})
        (folder / "log.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines))
    return path


def make_sweep(root, scale="quick"):
    """Write a sweep in which mAR-SCF's time and steps are O(N), PixelCNN's O(N²)."""
    from marscf.studies.scaling import sequential_steps

    random = np.random.default_rng(0)
    rows = ["system,image_size,channels,levels,sequential_steps,batch_size,repeat,milliseconds,device"]
    for system, power, first in (("glow", 0.2, 2), ("marscf-affine", 1, 10), ("pixelcnn", 2, 64)):
        for level, side in enumerate((8, 16, 32), 2):
            steps = {"glow": level, "marscf-affine": sequential_steps(1, level)}.get(system, side**2)
            for repeat in range(5):
                time = first * (side / 8) ** power * (1 + 0.05 * random.random())
                rows.append(f"{system},{side},1,{level},{steps},8,{repeat},{time:.4f},A CPU")
    path = root / "reports" / scale / "sampling_speed.csv"
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("\n".join(rows) + "\n")
    path.with_suffix(".json").write_text("{}")
    seal_sweep(path)


def seal_sweep(path):
    from marscf import seals

    seals.seal(path.with_name(seals.SWEEP), [path, path.with_suffix(".json")])


def make_workdir(root):
    """Fill a folder; return its runs' paths."""
    from marscf.config import load_config
    from marscf.data.prepare import prepare
    from marscf.runs import DATASETS

    shutil.copytree(REPOSITORY / "config", root / "config")
    for system in ("glow", "marscf-affine"):  # as many steps as `make_run` writes
        file = root / "config" / "systems" / f"{system}.yaml"
        file.write_text(re.sub(r"training: \{steps: \d+", "training: {steps: 600", file.read_text(), count=1))
    before = os.getcwd()
    os.chdir(root)
    try:
        prepare(load_config().dataset("digits"), DATASETS, offline=True)
        runs = [make_run(root, system, bits) for system, bits in SYSTEMS.items()]
    finally:
        os.chdir(before)
    names = {"scale": "quick", "dataset": "digits", "system": "real", "seed": 0}
    values = {"fid[digits-net]": (3.5, None), "precision[digits-net]": (0.7, 0.02)}
    floor = measurements(values, 1000, "real train against real test")
    write_measured(root / "data/runs/quick/digits/floor.json", {"run": names, "measurements": floor})
    make_sweep(root)
    make_interpolation(root, runs[1])
    return [str(run) for run in runs]


@pytest.fixture(scope="session")
def finished(tmp_path_factory):
    """A folder with finished runs, not to be changed, and their paths."""
    root = tmp_path_factory.mktemp("finished")
    return root, make_workdir(root)


@pytest.fixture
def workdir(finished, tmp_path, monkeypatch):
    """A copy of it, as the working directory; returns the runs' paths."""
    root, runs = finished
    shutil.copytree(root, tmp_path, dirs_exist_ok=True)
    monkeypatch.chdir(tmp_path)
    return runs


@pytest.fixture
def another_run(workdir):
    """Add a run to the working directory, by system, bits/dim and seed; returns its path."""
    return lambda system, bits, seed: str(make_run(Path(), system, bits, seed))
