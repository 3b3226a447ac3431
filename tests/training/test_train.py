"""`marscf train`: finished runs, changed configs, other data, a machine with torch alone."""

import json
import os
import subprocess
import sys
from dataclasses import replace
from types import SimpleNamespace

import numpy as np
import pytest
import torch
import workers
from comparing import assert_same, log

import marscf
from marscf.devices import computes_in_bfloat16
from marscf.errors import DataError
from marscf.files import digest, read_json, sha256_file, write_json
from marscf.runs import run_config
from marscf.settings import TrainingSettings
from marscf.training.loop import largest_norm
from marscf.training.run import train_run


def test_what_a_run_leaves(make_run, capsys):
    folder = make_run()
    receipt = train_run(folder, "cpu")
    assert read_json(folder / "receipt.json") == receipt
    assert receipt["weights_sha256"] == sha256_file(folder / "weights.safetensors")
    assert receipt["steps"] == 12
    assert receipt["parameters"] == sum(p.numel() for p in marscf.load(folder).parameters())
    assert receipt["peak_memory_bytes"] > 50e6
    assert receipt["train_images_per_second"] > 0
    assert receipt["code_version"].startswith(marscf.__version__)
    assert receipt["host"]["torch"] == torch.__version__
    assert receipt["host"]["gpu"] is None
    lines = log(folder)
    validations = {line["step"]: line["validation_bits_per_dim"] for line in lines if len(line) == 3}
    assert list(validations) == [4, 8, 12]
    best = min(validations, key=validations.get)
    assert (receipt["best_step"], receipt["best_validation_bits_per_dim"]) == (best, validations[best])
    assert {"train_bits_per_dim", "learning_rate", "gradient_norm", "images"} <= lines[0].keys()
    assert list((folder / "tensorboard").glob("events.*"))
    assert "bits/dim" in capsys.readouterr().err  # the bar


def test_the_kept_weights_are_the_best_averaged_ones(make_run):
    """Their validation bits/dim, computed here anew, is what the receipt says."""
    from marscf.data.arrays import open_split
    from marscf.files import seed_from

    folder = make_run(validation_images=16, average_decay=0.5)
    receipt = train_run(folder, "cpu")
    model = marscf.load(folder)
    x = torch.from_numpy(np.array(open_split("digits", "val")[:16]))
    generator = torch.Generator().manual_seed(seed_from(run_config(folder).seed_value, "validation"))
    with torch.no_grad():
        nats = -model.log_prob(x, model.draw_noise(16, generator)).mean().item()
    assert nats / 64 / np.log(2) == pytest.approx(receipt["best_validation_bits_per_dim"], rel=1e-6)


def test_a_finished_run_gives_its_receipt_back_byte_for_byte(make_run):
    folder = make_run()
    train_run(folder, "cpu")
    receipt, weights = (folder / "receipt.json").read_bytes(), (folder / "weights.safetensors").stat()
    (folder / "receipt.json").unlink()
    train_run(folder, "cpu")
    assert (folder / "receipt.json").read_bytes() == receipt
    assert (folder / "weights.safetensors").stat() == weights
    (folder / "finished.json").unlink()  # as after a clone that carries receipts alone
    train_run(folder, "cpu")
    assert (folder / "receipt.json").read_bytes() == receipt


def test_damaged_weights_of_a_finished_run_are_made_again(make_run):
    folder = make_run()
    train_run(folder, "cpu")
    weights = (folder / "weights.safetensors").read_bytes()
    (folder / "weights.safetensors").write_bytes(weights[:-1] + b"x")
    train_run(folder, "cpu")
    assert (folder / "weights.safetensors").read_bytes() == weights


def test_two_runs_are_equal(make_run, place):
    folder = make_run()
    train_run(folder, "cpu")
    folder = folder.rename(place / "first")
    train_run(make_run(), "cpu")
    assert_same(folder, make_run())


def test_a_changed_learning_rate_trains_anew(make_run, capsys):
    folder = make_run()
    first = train_run(folder, "cpu")
    make_run(learning_rate=0.02)
    second = train_run(folder, "cpu")
    assert second["config_hash"] != first["config_hash"]
    assert second["weights_sha256"] != first["weights_sha256"]
    said = [line for line in capsys.readouterr().err.splitlines() if "starts anew" in line]
    assert len(said) == 1
    assert "training.learning_rate: 0.01, now 0.02" in said[0]


def test_a_new_option_with_a_default_changes_no_run_that_is_there(make_run, capsys):
    """A run of before knows nothing of it, and yet receipt, weights and states belong to its config."""
    folder = make_run()
    first = train_run(folder, "cpu")
    config = read_json(folder / "config.json")
    for name in ("optimizer", "betas", "augment", "gradient_clip_unit"):  # as if they had come later
        del config["training"][name]
    write_json(folder / "config.json", config)
    receipt = {key: value for key, value in first.items() if key not in ("config", "digest")}
    for name in ("receipt.json", "finished.json"):  # as they were before receipts held the config
        write_json(folder / name, {**receipt, "config_hash": digest(config)[:16]})
    make_run()  # asked for by today's config
    again = train_run(folder, "cpu")
    assert (again["weights_sha256"], again["config_hash"]) == (first["weights_sha256"], digest(config)[:16])
    marscf.load(folder)
    (folder / "weights.safetensors").unlink()  # the states alone are left
    assert train_run(folder, "cpu")["weights_sha256"] == first["weights_sha256"]
    assert "starts anew" not in capsys.readouterr().err
    make_run(betas=[0.8, 0.999])  # one that differs from what the run had is another run
    assert train_run(folder, "cpu")["weights_sha256"] != first["weights_sha256"]


def test_without_validation_all_images_train_and_the_last_weights_are_kept(make_run):
    from marscf.data.arrays import open_split, open_training

    whole = open_training("digits", everything=True)
    train, val = (np.array(open_split("digits", split)) for split in ("train", "val"))
    assert np.array_equal(whole[:], np.concatenate([train, val]))
    folder = make_run(validation_images=0, average_decay=0.0, batch_size=len(whole), steps=2)
    receipt = train_run(folder, "cpu")
    assert receipt["best_validation_bits_per_dim"] is None and receipt["best_step"] is None
    state = max(folder.glob("state-*.pt"))
    last = torch.load(state, weights_only=True)["averaged"]
    for name, tensor in marscf.load(folder).state_dict().items():
        assert torch.equal(tensor, last[name])


@pytest.mark.parametrize(
    ("unit", "nats_per_dim"), [("nats/dim", 3.0), ("bits/dim", 3 * np.log(2)), ("nats/image", 3 / 64)]
)
def test_gradient_clip_is_of_the_loss_in_its_unit(unit, nats_per_dim):
    training = TrainingSettings(gradient_clip=3.0, gradient_clip_unit=unit)
    assert largest_norm(training, dims=64) == pytest.approx(nats_per_dim)
    assert largest_norm(replace(training, gradient_clip=None), dims=64) == np.inf


def test_other_data_trains_anew(make_run, place):
    folder = make_run()
    first = train_run(folder, "cpu")
    path = place / "data/datasets/digits/train.npy"
    images = np.load(path)
    images[0, 0, 0, 0] += 1
    np.save(path, images)
    with pytest.raises(DataError, match=r"train\.npy"):  # altered: the data's own words
        (folder / "receipt.json").unlink()
        (folder / "finished.json").unlink()
        train_run(folder, "cpu")
    from marscf.data.arrays import dataset_digest
    from marscf.files import write_json

    manifest = read_json(path.parent / "manifest.json")
    manifest["splits"]["train"]["sha256"] = sha256_file(path)
    manifest["digest"] = dataset_digest(manifest)
    write_json(path.parent / "manifest.json", manifest)
    assert train_run(folder, "cpu")["data_digest"] != first["data_digest"]


TORCH_ALONE = """
import sys
class Blocked:
    def find_spec(self, name, path=None, target=None):
        if name.partition(".")[0] in {blocked}:
            raise ModuleNotFoundError(f"no module named {{name!r}} on this machine", name=name)
sys.meta_path.insert(0, Blocked())
from marscf.cli import main
for command in (["train"], ["config"], ["sample", "-n", "2", "--out", "x.npy"]):
    device = [] if command == ["config"] else ["--device", "cpu"]
    if code := main([*command, {folder!r}, *device]):
        sys.exit(code)
"""


def test_trains_and_samples_with_torch_numpy_safetensors_and_tqdm_alone(make_run):
    blocked = {"pydantic", "yaml", "pandas", "scipy", "sklearn", "matplotlib", "seaborn", "snakemake", "dvc"}
    blocked |= {"papermill", "torch_fidelity", "torchvision", "tensorboard", "PIL", "jinja2", "fsspec"}
    flow = SimpleNamespace(model="multiscale_flow.MultiScaleFlow")
    options = {"coupling": "affine", "prior": "mar", "levels": 1, "steps": 1, "channels": 4}
    folder = make_run(system=flow, options=options, steps=2, validate_every=1)
    code = TORCH_ALONE.format(blocked=blocked, folder=str(folder))
    environment = {**os.environ, "PYTHONPATH": workers.PYTHONPATH}
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, env=environment)
    assert done.returncode == 0, done.stderr
    assert json.loads((folder / "receipt.json").read_text())["steps"] == 2
    assert np.load("x.npy").shape == (2, 1, 8, 8)
    assert not (folder / "tensorboard").exists()


def test_flags_reach_the_model(make_run, monkeypatch, capsys):
    import tiny_model

    seen = []
    log_prob = tiny_model.Tiny.log_prob

    def watched(self, x, noise=None):
        seen.append((self.training, self.activation_checkpointing, torch.is_autocast_enabled("cpu"), len(x)))
        return log_prob(self, x, noise)

    monkeypatch.setattr(tiny_model.Tiny, "log_prob", watched)
    training = {"activation_checkpointing": True, "precision": "bfloat16", "accumulate": 4}
    receipt = train_run(make_run(steps=2, validate_every=2, **training), "cpu")
    emulated = not computes_in_bfloat16(torch.device("cpu"))
    assert ("only emulates bfloat16" in capsys.readouterr().err) == emulated
    assert set(seen) == {(True, True, True, 4), (False, True, False, 16), (False, True, False, 8)}
    assert np.isfinite(receipt["best_validation_bits_per_dim"])


@pytest.mark.long
def test_compiled(make_run):
    plain = train_run(make_run(options={"dropout": 0.0}), "cpu")["best_validation_bits_per_dim"]
    compiled = train_run(make_run(options={"dropout": 0.0}, compile=True), "cpu")
    assert compiled["best_validation_bits_per_dim"] == pytest.approx(plain, abs=1e-3)
