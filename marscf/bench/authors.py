"""The authors' public code, from a checkout of it, beside ours: equal weights, equal work, in one process.

Nothing of it is in this repository: `git clone` it, and give its folder to `marscf bench --authors-code`.
It was written for torch 1.0 and a GPU, and runs on today's, and on a CPU, with `REPLACED` in a copy of it.
"""

import importlib
import math
import shutil
import sys
import tempfile
import types
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from marscf.bench.work import NOISE, Work
from marscf.compat.code import Foreign
from marscf.compat.importing import read_checkpoint
from marscf.errors import ConfigError
from marscf.models.multiscale_flow import MultiScaleFlow
from marscf.studies.weights import fill_zeros

SIDE, LEVELS = 32, 3  # fixed in their code, as is dropout, which is our default
#: File → what in it no longer runs, and what does the same.
REPLACED = {
    "mar_prior/convolutional_rnn/utils.py": ("import collections", "import collections.abc as collections"),
    "flow_modules/mixlogcdf_nn.py": ("q *= ", "q = q * "),
    "flow_modules/common_modules.py": (".cuda()", ".to(input.device)"),
}


def load(code: Path, options: dict[str, Any], batch_size: int, seed: int = 0) -> nn.Module:
    """Build their model of our `options`: small noise where weights are zero, ActNorm initialised by data.

    Raises `ConfigError` where the folder is no checkout of their code, or `options` are none of theirs.
    """
    if not (code / "marscf_main.py").is_file():
        raise ConfigError(f"{code}: no marscf_main.py; clone the authors' code and give its folder")
    if options["levels"] != LEVELS:
        raise ConfigError(f"--levels {options['levels']}: the authors' code has {LEVELS}")
    torch.manual_seed(seed)
    with _importing(code):
        flow = importlib.import_module("marscf_main").MarScfFlow
        model = flow(
            batch_size,
            [SIDE, SIDE, 3],
            options["coupling"],
            options["levels"],
            options["steps"],
            options["channels"],
        )
    fill_zeros(model, NOISE)
    with torch.no_grad():
        model.train()(_images(batch_size)[1])
    return model


def ours(theirs: nn.Module, options: dict[str, Any]) -> MultiScaleFlow:
    """Return our model with the weights of theirs, by way of a checkpoint (`marscf import`)."""
    with tempfile.TemporaryDirectory() as folder:
        path = (
            Path(folder) / f"marscf_cifar10_{options['coupling']}_{options['steps']}_{options['channels']}.pt"
        )
        torch.save(theirs.state_dict(), path)
        model = read_checkpoint(Foreign(path, "mar-scf"))[0]
    assert isinstance(model, MultiScaleFlow)  # a checkpoint of theirs is nothing else
    return model


def prepare(kind: str, model: nn.Module, batch_size: int) -> Work:
    """Return the work that `work.prepare` returns for ours, done as their `marscf_main.py` does it."""
    device = next(model.parameters()).device
    model.train(kind == "training")
    images = _images(batch_size)[1].to(device)
    if kind == "sampling":
        return Work(lambda: model(None, None, reverse=True), model)
    if kind == "evaluation":
        return Work(torch.no_grad()(lambda: model(images)[1]), model)
    optimiser = torch.optim.Adamax(model.parameters(), lr=1e-5)

    def loss() -> Tensor:
        return model(images)[1].mean()

    def step() -> None:
        optimiser.zero_grad()
        loss().backward()
        optimiser.step()

    return Work(step, model, loss)


@torch.no_grad()
def difference(theirs: nn.Module, model: MultiScaleFlow, batch_size: int) -> float:
    """Return the greatest difference of an image's bits/dim, theirs and ours, on one batch and noise."""
    x, images = _images(batch_size)
    device = next(theirs.parameters()).device
    theirs.eval(), model.eval()
    torch.manual_seed(5)
    bits = theirs(images.to(device))[1]
    torch.manual_seed(5)  # they draw the noise first, on the CPU
    noise = torch.rand(images.shape).to(device)
    own = model.log_prob(x.to(device), noise) / (-math.log(2) * images[0].numel())
    return float((bits - own).abs().max())


def _images(batch_size: int) -> tuple[Tensor, Tensor]:
    """The same grey levels for both, and as their loader gives them: `x/255 - 1/2`."""
    generator = torch.Generator().manual_seed(1)
    x = torch.randint(0, 256, (batch_size, 3, SIDE, SIDE), generator=generator).to(torch.uint8)
    return x, x / 255 - 0.5


@contextmanager
def _importing(code: Path) -> Iterator[None]:
    """Import from a copy of their folder with `REPLACED`; torchvision need not be there."""
    with tempfile.TemporaryDirectory() as folder:
        copy = Path(shutil.copytree(code, f"{folder}/code", ignore=shutil.ignore_patterns(".*")))
        for name, (old, new) in REPLACED.items():
            text = (copy / name).read_text(encoding="utf-8")
            if old not in text:
                raise ConfigError(f"{code}/{name}: no {old!r}; this is another version of the authors' code")
            (copy / name).write_text(text.replace(old, new), encoding="utf-8")
        try:
            importlib.import_module("torchvision.transforms.functional")
        except (ImportError, RuntimeError):
            for name in ("", ".datasets", ".transforms", ".transforms.functional", ".utils"):
                sys.modules[f"torchvision{name}"] = types.ModuleType(f"torchvision{name}")
        sys.path.insert(0, str(copy))
        try:
            yield
        finally:
            sys.path.remove(str(copy))
