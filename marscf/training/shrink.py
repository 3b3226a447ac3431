"""Weights in about half the space, where that changes next to nothing, for a remote of limited size."""

import math
from pathlib import Path
from typing import TYPE_CHECKING

from marscf.errors import MarscfError
from marscf.files import read_json, sha256_file
from marscf.models import WEIGHTS, load, save
from marscf.runs import FINISHED, RECEIPT, run_config, signed
from marscf.training import receipt as receipts

if TYPE_CHECKING:
    import numpy as np

    from marscf.models.base import DensityModel

#: Numbers in a tensor. Smaller ones, such as 1×1 convolutions, matter most and weigh nothing.
ROUND_FROM = 3000
LARGEST_CHANGE = 1e-3  # bits/dim
IMAGES = 512
BATCH = 64


def shrink(path: str | Path, device: str = "auto", images: int = IMAGES) -> str:
    """Round a finished run's large tensors to float16, and say in its receipt what that changed.

    Args:
        path: the run's folder.
        device: where the change is measured.
        images: how many validation images it is measured on, at most, with the same noise before and after.

    Returns:
        What was done, in words.

    Raises:
        MarscfError: where the run is not finished, or its validation bits/dim would change by more than
            `LARGEST_CHANGE`; then nothing is changed.
    """
    from marscf.data.arrays import open_split
    from marscf.devices import choose_device

    folder = Path(path)
    weights, config = folder / WEIGHTS, run_config(folder)
    if not (folder / FINISHED).is_file():
        raise MarscfError(f"{folder} is not finished; train it first: marscf train {folder}")
    receipt = read_json(folder / FINISHED)
    if stored := receipt.get("stored"):
        return f"nothing to do: {stored}"
    seen = open_split(config.dataset, "val")[:images]
    on = choose_device(device)
    model, rounded = load(folder, on), weights.with_name("rounded.safetensors")
    before = weights.stat().st_size
    try:
        save(model, config, rounded, ROUND_FROM)
        change = _bits_per_dim(load(rounded, on), seen) - _bits_per_dim(model, seen)
        if not abs(change) <= LARGEST_CHANGE:
            raise MarscfError(
                f"{folder} is left as it is: in float16 its validation bits/dim change by {change:+.4f}, "
                f"more than {LARGEST_CHANGE}"
            )
        receipt["stored"] = (
            f"tensors of {ROUND_FROM:,} numbers or more in float16: {change:+.1e} bits/dim on {len(seen)} "
            "validation images"
        )
        receipt["weights_sha256"] = sha256_file(rounded)
        (folder / RECEIPT).unlink(missing_ok=True)  # if killed in between, the run says that it is altered
        rounded.replace(weights)
        receipts.write(folder, signed(receipt))
    finally:
        rounded.unlink(missing_ok=True)
    return f"{before / 1e6:.1f} → {weights.stat().st_size / 1e6:.1f} MB; {receipt['stored']}"


def _bits_per_dim(model: "DensityModel", images: "np.ndarray") -> float:
    from marscf.evaluation.likelihood import evaluate_likelihood

    bound = evaluate_likelihood(model, images, draws=1, batch_size=BATCH).bound
    return -float(bound.mean()) / (model.dims * math.log(2))
