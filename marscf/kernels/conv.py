"""Convolutions that keep the image's size, with weights that are made of parameters."""

import functools
from collections.abc import Callable

import torch
from torch import Tensor
from torch.nn import functional

from marscf.kernels import kernel
from marscf.kernels.cached import kept
from marscf.kernels.compiled import fused

# ---- convolution


def convolution_definition(x: Tensor, weight: Tensor, bias: Tensor | None = None) -> Tensor:
    """`W ∗ x + b`."""
    return functional.conv2d(x, weight, bias, padding=weight.shape[-1] // 2)


def _convolution_example() -> tuple[Tensor, Tensor, Tensor]:
    x = torch.randn(2, 3, 4, 5, dtype=torch.float64).contiguous(memory_format=torch.channels_last)
    return x, torch.randn(8, 3, 3, 3, dtype=torch.float64), torch.randn(8, dtype=torch.float64)


@kernel(convolution_definition, _convolution_example)
def convolution(x: Tensor, weight: Tensor, bias: Tensor | None = None) -> Tensor:
    """Map `x (B,in,H,W)` to `W ∗ x + b (B,out,H,W)`; `weight (out,in,k,k)`, `bias (out,)`."""
    # A CPU rearranges the weight and its gradient for images whose channels are innermost. With many output
    # channels that costs more than to rearrange the images.
    if weight.shape[0] > weight.shape[1] and not x.is_cuda:
        x = x.contiguous()
    return convolution_definition(x, weight, bias)


# ---- weight normalisation


def weight_norm_definition(direction: Tensor, gain: Tensor) -> Tensor:
    """`g v / |v|`."""
    axes = list(range(1, direction.ndim))
    return direction * (gain / torch.linalg.vector_norm(direction, dim=axes, keepdim=True))


def _weight_norm_example() -> tuple[Tensor, Tensor]:
    return torch.randn(4, 3, 3, 3, dtype=torch.float64), torch.randn(4, 1, 1, 1, dtype=torch.float64)


@kernel(weight_norm_definition, _weight_norm_example)
def weight_norm(direction: Tensor, gain: Tensor) -> Tensor:
    """Return `g v / |v|`, one norm per output channel; `direction (out,in,…)`, `gain (out,1,…)`."""
    return torch._weight_norm(direction, gain, 0)


# ---- convolution, then a shift and a scale per channel


def scaled_convolution_definition(
    x: Tensor, weight: Tensor, bias: Tensor, log_scale: Tensor, rate: float = 1.0, relu: bool = False
) -> Tensor:
    """`(W ∗ x + b) exp(rate log_scale)`, then the ReLU."""
    y = convolution_definition(x, weight) + bias.view(-1, 1, 1)
    y = y * torch.exp(rate * log_scale)
    return functional.relu(y) if relu else y


def _scaled_example() -> tuple[Tensor, Tensor, Tensor, Tensor, float, bool]:
    x, weight, bias = _convolution_example()
    return x, weight, bias, 0.3 * torch.randn(8, 1, 1, dtype=torch.float64), 3.0, True


@kernel(scaled_convolution_definition, _scaled_example)
def scaled_convolution(
    x: Tensor, weight: Tensor, bias: Tensor, log_scale: Tensor, rate: float = 1.0, relu: bool = False
) -> Tensor:
    """Return `(W ∗ x + b) exp(rate log_scale)`, with a ReLU after it where asked for.

    `x (B,in,H,W)`, `weight (out,in,k,k)`, `bias` and `log_scale` with one number per output channel.
    """
    # Channels innermost: the convolutions then need not rearrange their inputs and results.
    x = x.contiguous(memory_format=torch.channels_last)
    if not _packs(x):
        return _folded(x, weight, bias, log_scale, rate, relu)
    padding, stride, dilation, groups = [weight.shape[-1] // 2] * 2, [1, 1], [1, 1], 1

    def pack() -> tuple[Tensor, Tensor]:
        folded, shift = _fold(weight, bias, log_scale, rate)
        packed = torch._C._nn.mkldnn_reorder_conv2d_weight(  # type: ignore[call-arg]  # torch's stub is old
            folded.to_mkldnn(), padding, stride, dilation, groups, list(x.shape)
        )
        return packed, shift

    packed, shift = kept([weight, bias, log_scale], pack, x.shape)
    convolve = onednn_convolution()
    assert convolve is not None  # or it would not pack
    after = "relu" if relu else "none"
    return convolve(x, packed, shift, padding, stride, dilation, groups, after, [], "")


@fused
def _folded(x: Tensor, weight: Tensor, bias: Tensor, log_scale: Tensor, rate: float, relu: bool) -> Tensor:
    folded, shift = kept([weight, bias, log_scale], lambda: _fold(weight, bias, log_scale, rate))
    y = convolution_definition(x, folded, shift)
    return functional.relu(y, inplace=True) if relu else y


def _fold(weight: Tensor, bias: Tensor, log_scale: Tensor, rate: float) -> tuple[Tensor, Tensor]:
    """Weight and bias of the one convolution that does the same."""
    scale = torch.exp(rate * log_scale)
    return weight * scale.unsqueeze(1), bias.flatten() * scale.flatten()


def _packs(x: Tensor) -> bool:
    """Use oneDNN's packed convolution with ReLU: float32 inference on a CPU."""
    return (
        x.device.type == "cpu"
        and x.dtype == torch.float32
        and len(x) > 0
        and not torch.is_grad_enabled()
        and not torch.is_autocast_enabled("cpu")
        and not torch.compiler.is_compiling()
        and onednn_convolution() is not None
    )


@functools.cache
def onednn_convolution() -> Callable[..., Tensor] | None:
    """oneDNN's convolution on a packed weight; None where torch was built without it."""
    return getattr(torch.ops.mkldnn, "_convolution_pointwise", None)
