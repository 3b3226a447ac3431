"""State dicts of other codes: nothing in a file is run, and each tensor is taken by its name and shape."""

from pathlib import Path

import torch
from torch import Tensor

from marscf.errors import CheckpointError, nearest


class Reader:
    """Takes tensors out of a state dict by name and shape, and knows which were not taken."""

    def __init__(self, path: Path, state: dict[str, Tensor]):
        self.path, self.state, self.left = path, state, set(state)

    def take(self, name: str, shape: tuple[int, ...]) -> Tensor:
        """Return a tensor; raises `CheckpointError` where it is missing, of another shape or not finite."""
        if name not in self.state:
            raise CheckpointError(f"{self.path}: no tensor {name!r}{nearest(name, self.left)[:200]}")
        tensor = self.state[name]
        if tuple(tensor.shape) != tuple(shape):
            raise CheckpointError(
                f"{self.path}: {name!r} has shape {tuple(tensor.shape)}, expected {tuple(shape)}"
            )
        if not torch.isfinite(tensor).all():
            raise CheckpointError(f"{self.path}: {name!r} has values that are not finite")
        self.left.discard(name)
        return tensor


def read_state(path: Path) -> dict[str, Tensor]:
    """Read the state dict of a `.pt` file without running code from it; raises `CheckpointError`."""
    try:
        state = torch.load(path, map_location="cpu", weights_only=True)
    except FileNotFoundError:
        raise CheckpointError(f"no such file: {path}") from None
    except Exception as error:  # whatever a foreign file makes the reader stumble over
        reason = str(error).strip().split("\n")[0] or type(error).__name__
        raise CheckpointError(f"{path} is damaged, or holds more than tensors: {reason}") from error
    tensors = isinstance(state, dict) and all(
        isinstance(name, str) and isinstance(value, Tensor) for name, value in state.items()
    )
    if not tensors or not state:
        raise CheckpointError(f"{path} is no state dict of tensors; save model.state_dict() of their code")
    for name, tensor in state.items():
        if not _is_plain(tensor):
            kind = f"{tensor.layout}, {tensor.dtype}, {tuple(tensor.shape)} on {tensor.device}"
            raise CheckpointError(f"{path}: {name!r} is no plain tensor of numbers ({kind})")
    if all(name.startswith("module.") for name in state):  # saved from within DataParallel
        state = {name.removeprefix("module."): value for name, value in state.items()}
    return state


def _is_plain(tensor: Tensor) -> bool:
    """Whether a tensor holds real numbers in memory, all that its shape claims (and is not one repeated)."""
    return (
        tensor.layout == torch.strided
        and tensor.device.type == "cpu"
        and not (tensor.is_quantized or tensor.is_complex() or tensor.dtype == torch.bool)
        and tensor.numel() * tensor.element_size() <= tensor.untyped_storage().nbytes()
    )
