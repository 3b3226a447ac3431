"""Checkpoints of other sizes than the published ones, against the mathematics read off their files."""

import json
import math

import pytest
import torch
from made_up import state_dict
from made_up_glow import GlowReference, glow_state
from made_up_residual import ResidualReference, residual_content, their_names
from reference import Reference

from marscf.compat.code import Foreign
from marscf.compat.importing import import_checkpoint, read_checkpoint
from marscf.errors import CheckpointError


def images(model, count=1):
    generator = torch.Generator().manual_seed(1)
    x = torch.randint(256, (count, *model.shape), generator=generator, dtype=torch.uint8)
    return x, torch.rand(x.shape, generator=generator, dtype=torch.float64)


GLOWS = {
    "one level": dict(levels=1, steps=3, hidden=4),
    "four levels, one step": dict(levels=4, steps=1, hidden=5),
    "wide": dict(levels=2, steps=2, hidden=70),
    "plain matrices": dict(levels=3, steps=2, hidden=6, lu=False),
    "additive": dict(levels=2, steps=2, hidden=8, additive=True),
    "reversed": dict(levels=2, steps=3, hidden=8, reverse=True),
    "the top is not learnt": dict(levels=3, steps=1, hidden=8, learn_top=False),
}


@pytest.mark.parametrize("older", [False, True])
@pytest.mark.parametrize("sizes", GLOWS.values(), ids=GLOWS)
def test_glow(sizes, older, tmp_path):
    state, path = glow_state(**sizes), tmp_path / "glow.pt"
    torch.save(
        {"model": state, "optimizer": {}} if not older else state,
        path,
        _use_new_zipfile_serialization=not older,
    )
    hparams = tmp_path / "hparams.json"
    hparams.write_text(
        json.dumps({"flow_permutation": "reverse" if "reverse" in sizes else "invconv", "K": sizes["steps"]})
    )
    model, config = read_checkpoint(Foreign(path, "glow-pytorch", hparams=hparams))
    assert config.options["steps"] == sizes["steps"] and config.options["channels"] == sizes["hidden"]
    model.double()
    x, u = images(model, 2)
    with torch.no_grad():
        expected, latents = GlowReference(state, sizes["levels"], sizes["steps"])(x, u)
        torch.testing.assert_close(
            model.log_prob(x, u), expected, rtol=1e-8 if sizes.get("lu", True) else 1e-6, atol=0
        )
        for ours, theirs in zip(model.encode(x, u), latents, strict=True):
            torch.testing.assert_close(ours, theirs, rtol=1e-5, atol=1e-5)
        y = model.to_continuous(x, u)
        torch.testing.assert_close(model.decode(model.encode(x, u)), y, atol=1e-6, rtol=0)


RESIDUALS = {
    "numbers that differ, 28×28": dict(data="mnist", side=28, nblocks="2-1-1", idim=3, fc_idim=2),
    "one scale, no closing blocks": dict(data="mnist", side=28, nblocks="2", idim=5, fc_idim=2, fc_end=False),
    "more scales than fit": dict(data="mnist", side=28, nblocks="1-1-1-1", idim=2, fc_idim=3, coeff=0.7),
    "colours": dict(data="cifar10", nblocks="1-1", idim=2, fc_idim=2, fc_end=False),
}


@pytest.mark.parametrize("sizes", RESIDUALS.values(), ids=RESIDUALS)
def test_residual_flow(sizes, tmp_path):
    content, path = residual_content(**sizes), tmp_path / "resflow.pth"
    with their_names():
        torch.save(content, path, _use_new_zipfile_serialization="coeff" in sizes)
    model, _ = read_checkpoint(Foreign(path, "residual-flows"))
    model.double().exact_dims = model.dims
    x, u = images(model)
    with torch.no_grad():
        expected, z = ResidualReference(content)(x, u)
        torch.testing.assert_close(model.encode(x, u)[0].flatten(1), z, rtol=1e-6, atol=1e-7)
        torch.testing.assert_close(model.log_prob(x, u), expected, rtol=1e-8, atol=0)


MARSCF = {
    "one level": ("affine", dict(levels=1, steps=2, channels=3, lstm=2, layers=1)),
    "four levels": ("affine", dict(levels=4, steps=1, channels=6, lstm=4, layers=2)),
    "more layers of LSTM": ("affine", dict(levels=2, steps=3, channels=8, lstm=3, layers=4)),
    "one component": (
        "mixlogcdf",
        dict(levels=2, steps=2, channels=8, lstm=2, layers=1, blocks=1, components=1),
    ),
    "deep": ("mixlogcdf", dict(levels=1, steps=1, channels=12, lstm=2, layers=2, blocks=3, components=5)),
}


@pytest.mark.parametrize("dataset", ["mnist", "imagenet_32"])
@pytest.mark.parametrize("coupling, sizes", MARSCF.values(), ids=MARSCF)
def test_mar_scf(coupling, sizes, dataset, tmp_path):
    state = state_dict(coupling, **sizes)
    path = tmp_path / f"marscf_{dataset}_{coupling}_{sizes['steps']}_{sizes['channels']}.pt"
    torch.save(state, path)
    model, config = read_checkpoint(Foreign(path, "mar-scf"))
    assert config.dataset == {"mnist": "mnist-rgb", "imagenet_32": "imagenet32"}[dataset]
    model.double()
    x, u = images(model)
    with torch.no_grad():
        y = x.double() / 255 + u / 256 - 0.5
        expected, last = Reference(state, coupling, sizes["steps"]).log_density(y)
        torch.testing.assert_close(model.encode(x, u)[-1], last, rtol=1e-6, atol=1e-6)
        bits = (3072 * math.log(256) - expected) / (3072 * math.log(2))
        torch.testing.assert_close(-model.log_prob(x, u) / (3072 * math.log(2)), bits, rtol=1e-6, atol=0)


REFUSED_ARGS = {
    "act": "elu", "actnorm": False, "batchnorm": True, "vnorms": "122f", "learn_p": True, "kernels": "3-3-3",
    "factor_out": True, "squeeze_first": True, "nbits": 5, "padding": 2, "fc": True, "fc_actnorm": True,
    "preact": False, "first_resblock": False, "quadratic": True, "dropout": 0.1, "block": "coupling",
    "task": "hybrid", "logit_transform": False, "imagesize": 64, "data": "celebahq",
}  # fmt: skip


@pytest.mark.parametrize("option", REFUSED_ARGS)
def test_an_option_of_residual_flow_that_is_not_supported_is_named(option, tmp_path):
    content = residual_content("cifar10", "1", 2, 2)
    vars(content["args"])[option] = REFUSED_ARGS[option]
    with their_names():
        torch.save(content, tmp_path / "resflow.pth")
    refused(Foreign(tmp_path / "resflow.pth", "residual-flows"), rf"args\.{option}\b", tmp_path / "run")


REFUSED_HPARAMS = {
    "flow_permutation": "shuffle", "y_condition": True, "dataset": "svhn", "flow_coupling": "additive",
    "K": 2, "L": 1, "hidden_channels": 5, "LU_decomposed": False, "learn_top": False,
}  # fmt: skip


@pytest.mark.parametrize("option", REFUSED_HPARAMS)
def test_an_option_of_glow_that_does_not_fit_is_named(option, tmp_path):
    torch.save(glow_state(2, 1, 4), tmp_path / "glow.pt")
    (tmp_path / "hparams.json").write_text(json.dumps({option: REFUSED_HPARAMS[option]}))
    foreign = Foreign(tmp_path / "glow.pt", "glow-pytorch", hparams=tmp_path / "hparams.json")
    refused(foreign, rf"\b{option}\b", tmp_path / "run")


def test_glow_says_when_it_needs_its_hyper_parameters(tmp_path):
    torch.save(glow_state(2, 1, 4, reverse=True), tmp_path / "glow.pt")
    refused(Foreign(tmp_path / "glow.pt", "glow-pytorch"), "--hparams", tmp_path / "run")
    state = glow_state(2, 1, 4) | {"project_ycond.conv.weight": torch.zeros(3)}
    torch.save(state, tmp_path / "glow.pt")
    refused(Foreign(tmp_path / "glow.pt", "glow-pytorch"), "y_condition", tmp_path / "run")


def refused(foreign, words, out):
    with pytest.raises(CheckpointError, match=words) as refusal:
        import_checkpoint(foreign, out)
    assert "\n" not in str(refusal.value) and str(foreign.path) in str(refusal.value) and not out.exists()
