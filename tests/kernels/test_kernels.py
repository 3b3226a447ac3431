"""Every kernel's fast variants compute what its definition does: values and gradients."""

import importlib
import pkgutil

import pytest
import torch
from torch import Tensor

from marscf import kernels

for module in pkgutil.iter_modules(kernels.__path__):
    if module.name != "mixture_triton":  # needs Triton; registers none
        importlib.import_module(f"marscf.kernels.{module.name}")

TOLERANCE = {torch.float64: 1e-9, torch.float32: 1e-4}


@pytest.fixture(params=sorted(kernels.KERNELS))
def kernel(request):
    torch.manual_seed(0)
    return kernels.KERNELS[request.param]


def called(function, args, dtype=torch.float64):
    """Values of a function and gradients of its arguments, as a flat list."""
    args = on_tensors(lambda t: t.detach().to(dtype).requires_grad_(torch.is_grad_enabled()), args)
    results = tensors(function(*args))
    differentiable = [r for r in results if r.requires_grad]
    gradients = []
    if differentiable:
        total = sum((r * torch.cos(torch.arange(r.numel()).view_as(r))).sum() for r in differentiable)
        gradients = [g for g in torch.autograd.grad(total, tensors(args), allow_unused=True) if g is not None]
    return [t.detach() for t in (*results, *gradients)]


def tensors(value) -> list[Tensor]:
    """All tensors in nested tuples."""
    if isinstance(value, Tensor):
        return [value]
    return [t for part in value for t in tensors(part)] if isinstance(value, tuple) else []


def on_tensors(function, value):
    """Apply a function to all tensors in nested tuples."""
    if isinstance(value, Tensor):
        return function(value)
    return tuple(on_tensors(function, part) for part in value) if isinstance(value, tuple) else value


def assert_same(fast, plain, tolerance):
    assert len(fast) == len(plain) > 0
    for ours, defined in zip(fast, plain, strict=True):
        assert ours.dtype == defined.dtype and ours.shape == defined.shape
        error = (ours - defined).abs().max() / (1 + defined.abs().max())
        assert error < tolerance, error


@pytest.mark.parametrize("dtype", [torch.float64, torch.float32])
def test_values_and_gradients(kernel, dtype):
    args = kernel.example()
    assert_same(called(kernel.choose, args, dtype), called(kernel.definition, args, dtype), TOLERANCE[dtype])


@pytest.mark.parametrize("dtype", [torch.float64, torch.float32])
def test_values_without_gradients(kernel, dtype):
    args = kernel.example()
    with torch.no_grad():
        plain = called(kernel.definition, args, dtype)
        for _ in range(2):  # the second time with what the first one kept
            assert_same(called(kernel.choose, args, dtype), plain, TOLERANCE[dtype])


def test_under_autocast(kernel):
    args = kernel.example()
    with torch.autocast("cpu", torch.bfloat16):
        fast = called(kernel.choose, args, torch.float32)
    exact = called(kernel.definition, args, torch.float32)
    assert_same([t.float() for t in fast], exact, 0.1)


@pytest.mark.long
def test_compiled(kernel):
    args = kernel.example()
    compiled = torch.compile(kernel.choose, dynamic=False)
    assert_same(called(compiled, args, torch.float32), called(kernel.definition, args, torch.float32), 1e-3)


def test_plain_uses_the_definitions(monkeypatch):
    calls = []
    by_definition = kernels.kernel(lambda: calls.append("definition"), tuple)
    monkeypatch.setattr(kernels, "KERNELS", {})
    function = by_definition(lambda: calls.append("fast"))
    function()
    with kernels.plain():
        function()
        with kernels.plain(False):
            function()
    assert calls == ["fast", "definition", "fast"]


def test_kernels_are_found():
    assert len(kernels.KERNELS) >= 9
