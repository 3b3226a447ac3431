"""Bijections one after the other."""

from collections.abc import Iterator
from typing import Any

from torch import Tensor

from marscf.flows.bijection import Bijection
from marscf.nets.recompute import run


class Chain(Bijection):
    """`z = f_n(… f_2(f_1(x)))`; the log-determinants add up. Without layers it is the identity.

    Its layers are named in weights files: by keyword, the others by their place, 0 first.
    """

    def __init__(self, *layers: Bijection, **named: Bijection):
        super().__init__()
        for place, layer in enumerate(layers):
            self.add_module(str(place), layer)
        for name, layer in named.items():
            self.add_module(name, layer)

    def __len__(self) -> int:
        return len(self._modules)

    def __iter__(self) -> Iterator[Bijection]:
        return (layer for layer in self._modules.values() if isinstance(layer, Bijection))

    def forward(self, x: Tensor, context: Any = None, recompute: bool = False) -> tuple[Tensor, Tensor]:
        """See `Bijection.forward`; every layer is given the context.

        With `recompute` the backward pass computes what is inside the layers again, to save memory.
        """
        log_det = x.new_zeros(len(x))
        for layer in self:
            x, change = run(layer, x, context, recompute=recompute)
            log_det = log_det + change
        return x, log_det

    def inverse(self, z: Tensor, context: Any = None) -> Tensor:
        """See `Bijection.inverse`; every layer is given the context."""
        for layer in reversed(list(self)):
            z = layer.inverse(z, context)
        return z
