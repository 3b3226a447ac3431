"""Residual Flow and Glow as their public codes compute them, for small checkpoints in their own formats.

`MARSCF_PARITY` names the folder with the checkpoints and with what their codes computed.
"""

import json
import math
import os
from pathlib import Path

import numpy as np
import pytest
import torch

from marscf.compat.code import Foreign
from marscf.compat.importing import import_checkpoint, read_checkpoint
from marscf.errors import CheckpointError

PARITY = Path(os.environ.get("MARSCF_PARITY") or "/nowhere")
GLOW = PARITY / "glow-y0ast" / "glow" / "glow_affine_coupling.pt"
HPARAMS = GLOW.with_name("hparams.json")
RESIDUAL = [PARITY / "residual-flows" / f"{name}_resflow_2-2-2.pth" for name in ("mnist", "cifar10")]
pytestmark = pytest.mark.skipif(
    not PARITY.is_dir(), reason="set MARSCF_PARITY to a folder with the authors' numbers"
)
PRECISIONS = [(torch.float64, "_float64"), (torch.float32, "")]


def inputs(record, dtype):
    return torch.from_numpy(record["x_uint8"]), torch.from_numpy(record["u"]).to(dtype)


@pytest.mark.parametrize("dtype, suffix", PRECISIONS, ids=["double", "single"])
def test_glow(dtype, suffix):
    record = np.load(GLOW.with_suffix(".npz"))
    model = read_checkpoint(Foreign(GLOW, "glow-pytorch", hparams=HPARAMS))[0].to(dtype)
    tolerance = 1e-9 if suffix else 1e-5
    x, u = inputs(record, dtype)
    with torch.no_grad():
        for level, latent in enumerate(model.encode(x, u), 1):
            np.testing.assert_allclose(latent, record[f"latent_level{level}{suffix}"], atol=2 * tolerance)
        bits = -model.log_prob(x, u) / (math.log(2) * model.dims)
        np.testing.assert_allclose(bits, record[f"bits_per_dim{suffix}"], atol=tolerance)
        eps = [torch.from_numpy(record[f"eps_level{level}"]).to(dtype) for level in (1, 2, 3)]
        drawn = model.decode_noise(eps) - 0.5  # theirs are about zero
        np.testing.assert_allclose(drawn, record[f"x_sample{suffix}"], atol=10 * tolerance)


@pytest.mark.parametrize("dtype, suffix", PRECISIONS, ids=["double", "single"])
@pytest.mark.parametrize("path", RESIDUAL, ids=lambda path: path.stem)
def test_residual_flow(path, dtype, suffix):
    record = np.load(path.with_suffix(".npz"))
    model = read_checkpoint(Foreign(path, "residual-flows"))[0].to(dtype)
    x, u = inputs(record, dtype)
    with torch.no_grad():
        (z,) = model.encode(x, u)
        np.testing.assert_allclose(z.flatten(1), record[f"z{suffix}"], atol=1e-10 if suffix else 1e-4)
        noise = torch.from_numpy(record["z_noise"]).to(dtype).view(z.shape)
        drawn = model.decode([noise])
        expected = record[f"x_sample{suffix}"].reshape(drawn.shape)
        np.testing.assert_allclose(drawn, expected, atol=1e-8 if suffix else 2e-5)


def test_residual_flows_likelihood_is_theirs():
    record = np.load(RESIDUAL[0].with_suffix(".npz"))
    model, config = read_checkpoint(Foreign(RESIDUAL[0], "residual-flows"))
    assert config.dataset == "mnist-28" and model.dims == record["dims"]
    model.double().exact_dims = model.dims
    x, u = inputs(record, torch.float64)
    with torch.no_grad():
        bits = -model.log_prob(x[:1], u[:1]) / (math.log(2) * model.dims)
    np.testing.assert_allclose(bits, record["bits_per_dim_float64"][:1], atol=1e-8)


@pytest.mark.parametrize(
    "key, value, words",
    [
        ("K", 5, "K 5"),
        ("hidden_channels", 512, "hidden_channels 512"),
        ("flow_coupling", "additive", "flow_coupling"),
        ("flow_permutation", "shuffle", "flow_permutation"),
    ],
)
def test_hyper_parameters_that_do_not_fit_are_named(key, value, words, tmp_path):
    path = tmp_path / "hparams.json"
    path.write_text(json.dumps({**json.loads(HPARAMS.read_text()), key: value}))
    with pytest.raises(CheckpointError, match=words):
        read_checkpoint(Foreign(GLOW, "glow-pytorch", hparams=path))


@pytest.mark.parametrize("code", ["mar-scf", "residual-flows", "glow-pytorch"])
def test_a_checkpoint_of_another_code_is_refused(code, tmp_path):
    for path, own in ((GLOW, "glow-pytorch"), (RESIDUAL[0], "residual-flows")):
        if code != own:
            with pytest.raises(CheckpointError) as refusal:
                import_checkpoint(Foreign(path, code, "marscf_cifar10_affine_1_4.pt"), tmp_path / "run")
            assert "\n" not in str(refusal.value) and not (tmp_path / "run").exists()
