"""Random numbers that are a function of what they are for, not of a generator's state.

Evaluation draws with them, so that an image's number depends neither on its neighbours in the batch nor on
what was drawn before.
"""

import torch
from torch import Tensor

_MASK = 0xFFFFFFFF


def mix(values: Tensor) -> Tensor:
    """Scramble int64 values into 32 random bits each (the finaliser of MurmurHash3)."""
    h = values & _MASK
    for shift, factor in ((16, 0x85EBCA6B), (13, 0xC2B2AE35)):
        h = ((h ^ (h >> shift)) * factor) & _MASK
    return h ^ (h >> 16)


def keys_of(images: Tensor) -> Tensor:
    """Return one key per image, `(B,)` int64, a hash of its grey levels."""
    values = images.flatten(1).long()
    places = torch.arange(values.shape[1], device=values.device)
    return mix(mix(mix(places) + values).sum(1))


def bits(keys: Tensor, stream: int, count: int) -> Tensor:
    """Return `(B, count)` integers of 32 random bits, independent for each key and stream."""
    places = torch.arange(count, device=keys.device)
    return mix(mix(mix(keys + 0x9E3779B9 * (stream + 1))[:, None]) + mix(places))
