"""Tensors of a foreign checkpoint, taken one by one: each must be there, have its shape, and be finite."""

import torch
from torch import Tensor

from marscf.compat.torch_file import TorchFile
from marscf.compat.torch_pickle import StoredTensor
from marscf.errors import CheckpointError, nearest

MANY = 5000  # names, among which no similar one is looked for: it takes long


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
            if not isinstance(tensor, StoredTensor):
                kind = type(tensor).__name__[:100]
                raise CheckpointError(f"{file.path}: {what} holds {kind}, no plain tensor, at {name!r:.200}")
            if not isinstance(name, str):
                raise CheckpointError(
                    f"{file.path}: {what} has a tensor whose name is {name!r:.200}, no text"
                )
        if all(name.startswith("module.") for name in state):  # saved from within DataParallel
            state = {name.removeprefix("module."): tensor for name, tensor in state.items()}
        return cls(file, state)

    def shape(self, name: str) -> tuple[int, ...]:
        """The shape of a tensor; raises `CheckpointError` where there is none."""
        if name not in self.state:
            close = nearest(name, self.left)[:200] if len(self.left) < MANY else ""
            raise CheckpointError(f"{self.file.path}: no tensor {name!r}{close}")
        return self.state[name].shape

    def take(self, name: str, shape: tuple[int, ...], flag: bool = False) -> Tensor:
        """Return a tensor in float32; raises `CheckpointError` naming what is wrong with it.

        Its numbers must be floating-point numbers, unless it is a `flag`, which may be whole numbers.
        """
        if self.shape(name) != tuple(shape):
            raise CheckpointError(
                f"{self.file.path}: {name!r} has shape {self.shape(name)}, expected {tuple(shape)}"
            )
        dtype = self.state[name].storage.dtype
        if not dtype.is_floating_point and (dtype.is_complex or not flag):
            raise CheckpointError(f"{self.file.path}: {name!r} holds {dtype}, not floating-point numbers")
        tensor = self.file.tensor(self.state[name], name).float()
        if not torch.isfinite(tensor).all():
            raise CheckpointError(f"{self.file.path}: {name!r} has values that are not finite")
        self.left.discard(name)
        return tensor

    def signs(self, name: str, shape: tuple[int, ...]) -> Tensor:
        """Return a tensor of -1 and 1; raises `CheckpointError` where it holds anything else."""
        signs = self.take(name, shape)
        if not (signs.abs() == 1).all():
            raise CheckpointError(f"{self.file.path}: {name!r} holds more than -1 and 1")
        return signs

    def permutation(self, name: str, shape: tuple[int, ...]) -> Tensor:
        """Return a permutation matrix; raises `CheckpointError` where it is none."""
        matrix = self.take(name, shape)
        if not torch.equal(matrix @ matrix.T, torch.eye(len(matrix))) or (matrix < 0).any():
            raise CheckpointError(f"{self.file.path}: {name!r} is no permutation")
        return matrix

    def ignore(self, *endings: str) -> None:
        """Do not ask for tensors with these last names: they have no effect."""
        self.left = {name for name in self.left if name.rpartition(".")[2] not in endings}

    def finish(self) -> None:
        """Raise `CheckpointError` where a tensor was not taken."""
        if self.left:
            raise CheckpointError(f"{self.file.path}: unknown tensor {min(self.left)[:200]!r}")
