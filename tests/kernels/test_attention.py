"""Attention that makes its weights and mask again in the backward pass, against plain autograd."""

import pytest
import torch

from marscf.kernels import attention as module
from marscf.kernels.attention import attention


def draw(*shape):
    return torch.randn(*shape, dtype=torch.float64, requires_grad=True)


@pytest.fixture(params=[False, True], ids=["in parts", "to be compiled"])
def ours(request, monkeypatch):
    """Both ways of it, the one to be compiled as plain code."""
    if request.param:
        monkeypatch.setattr(module, "_DroppedAttention", module._HashedAttention)


@pytest.mark.usefixtures("ours")
def test_dropped_attention_is_the_plain_one_with_its_mask():
    torch.manual_seed(0)
    query, key, value = draw(3, 2, 20, 4), draw(3, 2, 20, 4), draw(3, 2, 20, 5)

    def dropped(value):
        torch.manual_seed(1)
        return attention(query, key, value, 0.3)

    weights = torch.softmax(query @ key.transpose(2, 3) / 2, -1)
    seen = dropped(torch.eye(20, dtype=torch.float64).expand(3, 2, 20, 20))
    kept = (seen != 0).double()
    assert abs(kept.mean() - 0.7) < 5 * (0.21 / kept.numel()) ** 0.5
    plain = (weights * kept / 0.7) @ value
    ours = dropped(value)
    torch.testing.assert_close(ours, plain, rtol=1e-4, atol=1e-5)  # 0.3 is a multiple of 2^-16, rounded
    along = torch.randn_like(plain)
    for a, b in zip(
        *(torch.autograd.grad(y, (query, key, value), along) for y in (ours, plain)), strict=True
    ):
        torch.testing.assert_close(a, b, rtol=1e-4, atol=1e-5)


@pytest.mark.usefixtures("ours")
def test_masks_differ_between_calls():
    value = draw(1, 1, 16, 4)
    torch.manual_seed(0)
    assert not torch.equal(attention(value, value, value, 0.5), attention(value, value, value, 0.5))


def test_hashed_masks_are_as_if_drawn():
    shape, generator = torch.Size((4, 512, 512)), torch.Generator().manual_seed(0)
    seeds = torch.randint(-(2**31), 2**31, (3, 2), dtype=torch.int32, generator=generator)
    seeds[1, 0] = seeds[0, 0]  # one word of two in common
    masks = [module._hashed(seed, shape, round(0.2 * module.LEVELS)).flatten().double() for seed in seeds]
    off = [(mask - 0.8) / 0.4 for mask in masks]  # of mean 0 and variance 1
    count = shape.numel()
    for one in off:
        assert abs(one.mean()) < 4 / count**0.5
        for lag in (1, 2, 3, 16, 511, 512, 513, 2**18):
            assert abs((one[lag:] * one[:-lag]).mean()) < 4 / (count - lag) ** 0.5
    for first, second in ((0, 1), (0, 2), (1, 2)):
        assert abs((off[first] * off[second]).mean()) < 4 / count**0.5
