"""Reproduce, compare and extend normalizing-flow image models, starting from mAR-SCF (CVPR 2020)."""

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Collection
    from pathlib import Path

    import torch

    from marscf.models.base import DensityModel

__version__ = "0.1.0"
__all__ = ["__version__", "load"]


def load(
    run: "str | Path", device: "str | torch.device" = "cpu", allow: "Collection[str]" = ()
) -> "DensityModel":
    """Load a trained run's density model in eval mode; see `marscf.models.load`."""
    from marscf.models import load as load_model

    return load_model(run, device, allow)
