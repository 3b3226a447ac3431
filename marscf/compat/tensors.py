"""Tensors of a foreign checkpoint, taken one by one: each must be there, have its shape, and be finite."""

import torch
from torch import Tensor

from marscf.compat.torch_file import StoredTensor, TorchFile
from marscf.errors import CheckpointError, nearest


class Tensors:
    """The tensors of one state dict in a file. `left` names those that were not taken yet."""

    def __init__(self, file: TorchFile, state: dict[str, StoredTensor]):
        self.file, self.state, self.left = file, state, set(state)

    @classmethod
    def of(cls, file: TorchFile, state: object, what: str) -> "Tensors":
        """Return the tensors of `state`; raises `CheckpointError` where it is no dict of tensors."""
        if not isinstance(state, dict) or not state:
            raise CheckpointError(f"{file.path}: {what} is no state dict of tensors")
        for name, tensor in state.items():
            if not isinstance(name, str) or not isinstance(tensor, StoredTensor):
                raise CheckpointError(f"{file.path}: {what} holds more than tensors, at {str(name)[:100]!r}")
        if all(name.startswith("module.") for name in state):  # saved from within DataParallel
            state = {name.removeprefix("module."): tensor for name, tensor in state.items()}
        return cls(file, state)

    def shape(self, name: str) -> tuple[int, ...]:
        """The shape of a tensor; raises `CheckpointError` where there is none."""
        if name not in self.state:
            raise CheckpointError(f"{self.file.path}: no tensor {name!r}{nearest(name, self.left)[:200]}")
        return self.state[name].shape

    def take(self, name: str, shape: tuple[int, ...], flag: bool = False) -> Tensor:
        """Return a tensor in float32; raises `CheckpointError` naming what is wrong with it.

        Its numbers must be floating-point numbers, unless it is a `flag`.
        """
        if self.shape(name) != tuple(shape):
            raise CheckpointError(
                f"{self.file.path}: {name!r} has shape {self.shape(name)}, expected {tuple(shape)}"
            )
        dtype = self.state[name].storage.dtype
        if not (flag or dtype.is_floating_point):
            raise CheckpointError(f"{self.file.path}: {name!r} holds {dtype}, not floating-point numbers")
        tensor = self.file.tensor(self.state[name], name).float()
        if not torch.isfinite(tensor).all():
            raise CheckpointError(f"{self.file.path}: {name!r} has values that are not finite")
        self.left.discard(name)
        return tensor

    def ignore(self, *endings: str) -> None:
        """Do not ask for tensors with these last names: they have no effect."""
        self.left = {name for name in self.left if name.rpartition(".")[2] not in endings}

    def finish(self) -> None:
        """Raise `CheckpointError` where a tensor was not taken."""
        if self.left:
            raise CheckpointError(f"{self.file.path}: unknown tensor {min(self.left)[:200]!r}")
