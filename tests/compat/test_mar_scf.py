import math
import os
import pickle
from pathlib import Path

import numpy as np
import pytest
import torch
from made_up import state_dict
from reference import Reference

import marscf
from marscf.cli import main
from marscf.compat import importing
from marscf.compat.code import Foreign
from marscf.errors import CheckpointError, MarscfError
from marscf.files import read_json
from marscf.runs import Run, run_config


def read_checkpoint(path, name=None):
    return importing.read_checkpoint(Foreign(path, "mar-scf", name))


def import_checkpoint(path, out, name=None):
    return importing.import_checkpoint(Foreign(path, "mar-scf", name), out)


PARITY = os.environ.get("MARSCF_PARITY")
GIVEN = ["marscf_cifar10_affine_2_32", "marscf_cifar10_mixlogcdf_1_32"]
parity = pytest.mark.skipif(
    not PARITY or not Path(PARITY).is_dir(), reason="set MARSCF_PARITY to a folder with the authors' numbers"
)


@pytest.fixture(scope="module", params=GIVEN)
def given(request):
    """The model of a given checkpoint, and what the authors' code computed with it."""
    path = Path(PARITY) / request.param
    return read_checkpoint(path.with_suffix(".pt"))[0], np.load(path.with_suffix(".npz"))


def eps(numbers, dtype=torch.float32):
    return [torch.from_numpy(numbers[f"eps_level{level}"]).to(dtype) for level in (1, 2, 3)]


@parity
def test_parity_in_float32(given):
    model, theirs = given
    model.float()
    x, u = torch.from_numpy(theirs["x_uint8"]), torch.from_numpy(theirs["u"])
    with torch.no_grad():
        bits = -model.log_prob(x, u).numpy() / (math.log(2) * model.dims)
        np.testing.assert_allclose(bits, theirs["bits_per_dim"], rtol=1e-5)
        np.testing.assert_allclose(model.encode(x, u)[-1].numpy(), theirs["z_last"], atol=1e-4)
        drawn = model.decode(model.latents_from(eps(theirs))).numpy()
    np.testing.assert_allclose(drawn - 0.5, theirs["x_sample"], atol=1e-4)


@parity
def test_parity_in_float64(given):
    model, theirs = given
    model.double()
    some = slice(0, 2)
    x, u = torch.from_numpy(theirs["x_uint8"][some]), torch.from_numpy(theirs["u"][some]).double()
    with torch.no_grad():
        bits = -model.log_prob(x, u).numpy() / (math.log(2) * model.dims)
        np.testing.assert_allclose(bits, theirs["bits_per_dim_float64"][some], rtol=1e-8)
        drawn = model.decode_noise([e[some] for e in eps(theirs, torch.float64)]).numpy()
        np.testing.assert_allclose(drawn - 0.5, theirs["x_sample_float64"][some], atol=1e-6)
        y = model.to_continuous(x, u)
        torch.testing.assert_close(model.decode(model.encode_continuous(y)[0]), y, atol=1e-8, rtol=0)
    model.float()


@parity
@pytest.mark.parametrize("name, coupling, steps", [(GIVEN[0], "affine", 2), (GIVEN[1], "mixlogcdf", 1)])
def test_the_reference_is_theirs(name, coupling, steps):
    """What other sizes are compared with below agrees with the authors' code where that was run."""
    path = Path(PARITY) / name
    theirs = np.load(path.with_suffix(".npz"))
    reference = Reference(torch.load(path.with_suffix(".pt"), weights_only=True), coupling, steps)
    x, u = (torch.from_numpy(theirs[key])[:1].double() for key in ("x_uint8", "u"))
    with torch.no_grad():
        log_density, z = reference.log_density(x / 255 - 0.5 + u / 256)
        assert np.allclose(z, theirs["z_last"][:1], atol=1e-4)
        drawn = reference.prior(2, None, None, noise=eps(theirs, torch.float64)[2][:1])[1]
        ours = read_checkpoint(path.with_suffix(".pt"))[0].double()
        again = ours.priors[2].sample(None, eps(theirs, torch.float64)[2][:1])
        torch.testing.assert_close(again, drawn, atol=1e-6, rtol=0)  # biases are added in float32 on import
    bits = 8 - log_density.numpy() / (math.log(2) * 3072)
    np.testing.assert_allclose(bits, theirs["bits_per_dim_float64"][:1], rtol=1e-8)


@pytest.mark.parametrize(
    "coupling, levels, steps, channels, sizes",
    [
        ("affine", 3, 3, 8, {"lstm": 12}),
        ("affine", 1, 1, 5, {"lstm": 6, "layers": 1}),
        ("affine", 4, 1, 16, {"lstm": 8, "layers": 2}),
        ("mixlogcdf", 3, 2, 8, {"blocks": 2, "components": 5, "lstm": 8}),
        ("mixlogcdf", 2, 1, 12, {"lstm": 5, "layers": 2}),
    ],
)
def test_other_sizes(coupling, levels, steps, channels, sizes, tmp_path):
    state = state_dict(coupling, levels, steps, channels, **sizes)
    path = tmp_path / f"marscf_mnist_{coupling}_{steps}_{channels}.pt"
    torch.save(state, path)
    model, config = read_checkpoint(path)
    model.double()
    assert config.dataset == "mnist-rgb"
    generator = torch.Generator().manual_seed(0)
    x = torch.randint(0, 256, (1, 3, 32, 32), generator=generator, dtype=torch.uint8)
    u = torch.rand(1, 3, 32, 32, generator=generator, dtype=torch.float64)
    with torch.no_grad():
        y = x.double() / 255 + u / 256
        expected, z = Reference(state, coupling, steps).log_density(y - 0.5)
        latents, _ = model.encode_continuous(y)
        torch.testing.assert_close(latents[-1], z, atol=1e-8, rtol=1e-8)
        ours = model.log_prob(x, u) + 3072 * math.log(256)
        torch.testing.assert_close(ours, expected, rtol=1e-6, atol=0)  # biases added in float32 on import
        torch.testing.assert_close(model.decode(latents), y, atol=1e-8, rtol=0)


@pytest.fixture(scope="module")
def small():
    return state_dict("affine", 2, 1, 4, lstm=4, layers=1)


NAME = "marscf_cifar10_affine_1_4.pt"


def test_an_imported_checkpoint_is_a_run(small, tmp_path, capsys):
    torch.save({f"module.{name}": value for name, value in small.items()}, tmp_path / NAME)
    out = tmp_path / "anywhere"
    assert main(["import", str(tmp_path / NAME), "--code", "mar-scf", "--out", str(out)]) == 0
    assert "anywhere" in capsys.readouterr().out
    assert Run.from_path(out) == Run("published", "cifar10", "marscf-affine", 0)
    config = run_config(out)
    assert config.options["steps"] == 1 and config.options["levels"] == 2
    receipt = read_json(out / "receipt.json")
    model = marscf.load(out)
    assert receipt["parameters"] == sum(p.numel() for p in model.parameters())
    x = torch.zeros(2, 3, 32, 32, dtype=torch.uint8)
    with torch.no_grad():
        expected = read_checkpoint(tmp_path / NAME)[0].log_prob(x, torch.zeros(x.shape))
        assert torch.equal(model.log_prob(x, torch.zeros(x.shape)), expected)
        assert model.sample(2).shape == x.shape
    assert main(["import", str(tmp_path / NAME), "--code", "mar-scf", "--out", str(out)]) == 2
    assert "holds a run already" in capsys.readouterr().err


def test_receipt_names_the_checkpoint_by_the_name_it_had(small, tmp_path):
    torch.save(small, tmp_path / "model.pt")
    import_checkpoint(tmp_path / "model.pt", tmp_path / "run", NAME)
    assert read_json(tmp_path / "run" / "receipt.json")["imported_from"] == NAME


def broken(state, change):
    state = dict(state)
    change(state)
    return state


FAULTS = {
    "missing": (lambda s: s.pop("flow.layers.4.actnormlayer.logs"), "layers.4.actnormlayer.logs"),
    "shape": (
        lambda s: s.update({"flow.layers.1.coupling.NN_net.conv3.bias": torch.zeros(13)}),
        r"layers.1.coupling.NN_net.conv3.bias.*\(13,\)",
    ),
    "unknown": (lambda s: s.update({"flow.extra": torch.zeros(1)}), "flow.extra"),
    "more steps": (
        lambda s: s.update({"flow.layers.2.actnormlayer.logs": torch.zeros(1)}),
        "1 steps per level",
    ),
    "not finite": (
        lambda s: s.update({"flow.layers.1.actnormlayer.bias": torch.full((1, 12, 1, 1), math.nan)}),
        "layers.1.actnormlayer.bias.*not finite",
    ),
    "no permutation": (
        lambda s: s.update({"flow.layers.1.invert_1x1_layer.p": torch.ones(12, 12)}),
        "layers.1.invert_1x1_layer.p",
    ),
    "no prior": (
        lambda s: [s.pop(name) for name in list(s) if "c_prior" in name],
        "flow.c_prior.prior_list.0",
    ),
    "unused network": (
        lambda s: s.pop("flow.c_prior.prior_list.1.z1_cond_network.2.bias"),
        "prior_list.1.z1_cond_network.2.bias",
    ),
}


@pytest.mark.parametrize("fault", FAULTS)
def test_the_first_that_does_not_fit_is_named(fault, small, tmp_path):
    change, words = FAULTS[fault]
    torch.save(broken(small, change), tmp_path / NAME)
    with pytest.raises(CheckpointError, match=words) as caught:
        import_checkpoint(tmp_path / NAME, tmp_path / "run")
    assert "\n" not in str(caught.value)
    assert not (tmp_path / "run").exists()


@pytest.mark.parametrize(
    "name, words",
    [
        ("model.pt", "marscf_<dataset>_<coupling>_<K>_<C>.pt"),
        ("marscf_svhn_affine_1_4.pt", "svhn"),
        ("marscf_cifar10_affine_2_4.pt", "2 steps per level"),
        ("marscf_cifar10_affine_1_8.pt", "8 channels"),
        ("marscf_cifar10_mixlogcdf_1_4.pt", "mixlogcdf"),
        ("marscf_cifar10_affine_999999999999_4.pt", "the name must be"),
        ("marscf_cifar10_affine_9999_4.pt", "9999 steps"),
    ],
)
def test_names_that_do_not_fit(name, words, small, tmp_path):
    torch.save(small, tmp_path / name)
    with pytest.raises(MarscfError, match=words):
        read_checkpoint(tmp_path / name)


def test_a_renamed_file(small, tmp_path):
    torch.save(small, tmp_path / "model.pt")
    assert read_checkpoint(tmp_path / "model.pt", NAME)[1].options["channels"] == 4


class Harm:
    def __reduce__(self):
        return (Path.touch, (Path("harmed"),))


@pytest.mark.parametrize("content", ["code", "pickle", "noise", "half", "list", "nothing"])
def test_nothing_in_a_file_is_run(content, small, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    path = tmp_path / NAME
    if content == "code":
        torch.save({**small, "flow.harm": Harm()}, path)
    elif content == "pickle":
        path.write_bytes(pickle.dumps(Harm()))
    elif content == "noise":
        path.write_bytes(os.urandom(1000))
    elif content == "half":
        torch.save(small, path)
        path.write_bytes(path.read_bytes()[:5000])
    elif content == "list":
        torch.save([torch.zeros(1)], path)
    with pytest.raises(CheckpointError) as caught:
        read_checkpoint(path)
    assert not Path("harmed").exists() and str(path) in str(caught.value) and "\n" not in str(caught.value)


HARMS = {
    "a number": lambda tensor: torch.tensor(1.0),
    "empty": lambda tensor: torch.zeros(0, *tensor.shape[1:]),
    "one axis more": lambda tensor: tensor[None],
    "sparse": lambda tensor: tensor.to_sparse(),
    "complex": lambda tensor: tensor.to(torch.complex64),
    "whole numbers": lambda tensor: tensor.long(),
    "without data": lambda tensor: tensor.to("meta"),
    "one number that claims to be many": lambda tensor: torch.zeros(1).expand(10**9, *tensor.shape[1:]),
}


@pytest.mark.parametrize("coupling", ["affine", "mixlogcdf"])
@pytest.mark.parametrize("harm", HARMS)
def test_any_tensor_that_is_none_of_theirs_is_named(coupling, harm, tmp_path):
    """Each tensor of a checkpoint in turn."""
    state = state_dict(coupling, 2, 1, 4, lstm=4, layers=1, blocks=1, components=2)
    for name, tensor in state.items():
        if harm == "whole numbers" and name.endswith("is_initialized"):
            continue  # a flag may be one
        changed = {**state, name: HARMS[harm](tensor)}
        path = tmp_path / f"marscf_cifar10_{coupling}_1_4.pt"
        torch.save(changed, path)
        with pytest.raises(CheckpointError) as caught:
            read_checkpoint(path)
        assert "\n" not in str(caught.value)
        if harm not in (
            "complex",
            "one number that claims to be many",
        ):  # refused by its kind, or by its size
            assert name in str(caught.value)
