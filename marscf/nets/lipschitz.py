"""Networks with a Lipschitz constant below 1: spectrally normalised convolutions and LipSwish.

Sources: arXiv 1811.00995, 1906.02735. `tensors` makes the weights that act from a network's parameters, once
per step. `apply_with` is then a function of the input and of those alone: the log-determinant takes many
vector-Jacobian products of it.
"""

import math
from collections.abc import Callable, Iterator, Sequence
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from marscf.kernels.cached import Cached
from marscf.nets.modules import Modules

TOLERANCE = 1e-6  # relative change of the norm at which evaluation's power iteration ends
MAX_ITERATIONS = 2000


class LipschitzConv2d(nn.Module):
    """A convolution, zero-padded to keep the image's size, whose operator norm is at most `coefficient`.

    The norm is that of the linear map on whole images, `(in,H,W)` to `(out,H,W)`, not that of the reshaped
    kernel. It is found by power iteration on the convolution itself (arXiv 1804.04368). In training mode
    `follow` moves the iterate `vector` a little at each step; in eval mode the iteration runs to convergence
    for the weights at hand. With `store_norm` the norm in eval mode is instead `u · (W v)`, with the singular
    vectors u (`left_vector`) and v (`vector`) of the last `follow`, as in the authors' code.

    Weights of one image size load into a model of another: the vector is then found again.
    """

    vector: Tensor
    left_vector: Tensor | None

    def __init__(
        self,
        channels: int,
        out_channels: int,
        kernel: int,
        size: tuple[int, int],
        coefficient: float,
        store_norm: bool = False,
    ):
        super().__init__()
        self.weight, self.bias = nn.Conv2d(channels, out_channels, kernel).parameters()
        self.coefficient, self.padding = coefficient, kernel // 2
        # A 1×1 convolution is the same matrix at every pixel: one pixel will do.
        sides = size if kernel > 1 else (1, 1)
        self.register_buffer("vector", torch.randn(1, channels, *sides))
        self.register_buffer("left_vector", torch.zeros(1, out_channels, *sides) if store_norm else None)
        self._converged = Cached()

    def _advance(self, v: Tensor) -> tuple[Tensor, Tensor]:
        """One power iteration: the next unit vector, and the norm that `v` shows."""
        v = v / torch.linalg.vector_norm(v)
        image = F.conv2d(v, self.weight, padding=self.padding)
        return F.conv_transpose2d(image, self.weight, padding=self.padding), torch.linalg.vector_norm(image)

    @torch.no_grad()
    def follow(self, iterations: int) -> None:
        """Move `vector` after the weights by some power iterations."""
        v = self.vector
        for _ in range(iterations):
            v, _ = self._advance(v)
        self.vector.copy_(v / torch.linalg.vector_norm(v))
        if self.left_vector is not None:
            image = F.conv2d(self.vector, self.weight, padding=self.padding)
            self.left_vector.copy_(image / torch.linalg.vector_norm(image))

    def _leading_vector(self) -> Tensor:
        """The right singular vector of the largest singular value, converged."""
        v, norm = self._advance(self.vector)
        for _ in range(MAX_ITERATIONS):
            v, following = self._advance(v)
            if abs(following - norm) <= TOLERANCE * following:
                break
            norm = following
        return v / torch.linalg.vector_norm(v)

    def norm(self) -> Tensor:
        """The operator norm of the weights before normalisation, differentiable in them."""
        v: Tensor = self.vector
        if not self.training and self.left_vector is not None:
            return (self.left_vector * F.conv2d(v, self.weight, padding=self.padding)).sum()
        if not self.training:
            v = self._converged.get([self.weight.detach(), self.vector], self._leading_vector)
        return torch.linalg.vector_norm(
            F.conv2d(v / torch.linalg.vector_norm(v), self.weight, padding=self.padding)
        )

    def tensors(self) -> list[Tensor]:
        """The normalised weight, scaled down only where its norm exceeds the coefficient, and the bias."""
        return [self.weight * (self.coefficient / self.norm()).clamp(max=1), self.bias]

    def _load_from_state_dict(self, state: dict[str, Any], prefix: str, *args: Any) -> None:
        for name, own in (("vector", self.vector), ("left_vector", self.left_vector)):
            stored = state.get(prefix + name)
            if own is not None and stored is not None and stored.shape != own.shape:
                state[prefix + name] = own
        super()._load_from_state_dict(state, prefix, *args)


def convolve(x: Tensor, weight: Tensor, bias: Tensor | None = None, padding: int = 0) -> Tensor:
    """Convolve; a 1×1 kernel on a 1×1 image is a matrix product, which a CPU does several times faster."""
    if x.shape[2:] == weight.shape[2:] == (1, 1):
        return F.linear(x.flatten(1), weight.flatten(1), bias)[:, :, None, None]
    return F.conv2d(x, weight, bias, padding=padding)


def lip_swish(x: Tensor, beta: Tensor) -> Tensor:
    """`x σ(β x) / 1.1`, whose slope is below 1 for every β > 0 (arXiv 1906.02735, Eq. 9)."""
    return F.silu(beta * x) / (1.1 * beta)


def lip_swish_slope(x: Tensor, beta: Tensor) -> Tensor:
    """The derivative of `lip_swish` in x."""
    scaled = beta * x
    gate = torch.sigmoid(scaled)
    return torch.addcmul(gate, scaled * gate, 1 - gate) / 1.1


class LipschitzNet(nn.Module):
    """LipSwish, 3×3 convolution, LipSwish, 1×1, LipSwish, 3×3, with Lipschitz constant below `coefficient³`.

    Args:
        channels: of input and output.
        hidden_channels: between the convolutions.
        size: (H, W) of the images.
        coefficient: bound on each convolution's operator norm, below 1.
        activate_first: False leaves out the first LipSwish, as at the very start of a flow.
        kernels: of the convolutions.
        store_norms: see `LipschitzConv2d`.
    """

    def __init__(
        self,
        channels: int,
        hidden_channels: int,
        size: tuple[int, int],
        coefficient: float,
        activate_first: bool = True,
        kernels: tuple[int, ...] = (3, 1, 3),
        store_norms: bool = False,
    ):
        super().__init__()
        widths = (channels, *[hidden_channels] * (len(kernels) - 1), channels)
        self.convs = Modules[LipschitzConv2d](
            LipschitzConv2d(width, out, kernel, size, coefficient, store_norms)
            for width, out, kernel in zip(widths[:-1], widths[1:], kernels, strict=True)
        )
        self.activate_first = activate_first
        self.kernels = kernels
        self.raw_betas = nn.Parameter(torch.full((len(kernels) - (not activate_first),), 0.5))
        self.bound = coefficient ** len(kernels)
        #: How many pixels away the inputs are that an output depends on; None where it is on all.
        self.reach: int | None = sum(kernel // 2 for kernel in kernels)

    def tensors(self) -> list[Tensor]:
        """What `apply_with` needs beside the input, differentiable in the parameters."""
        return [F.softplus(self.raw_betas), *(t for conv in self.convs for t in conv.tensors())]

    def _steps(self, tensors: Sequence[Tensor]) -> Iterator[tuple[Tensor | None, Tensor, Tensor, int]]:
        """For each convolution, β of the LipSwish before it (or None), weight, bias and padding."""
        betas = iter(tensors[0])
        for index, kernel in enumerate(self.kernels):
            beta = next(betas) if index or self.activate_first else None
            yield beta, tensors[1 + 2 * index], tensors[2 + 2 * index], kernel // 2

    def apply_with(self, x: Tensor, tensors: Sequence[Tensor]) -> Tensor:
        """Map `x (B,C,H,W)` to the same shape."""
        for beta, weight, bias, padding in self._steps(tensors):
            if beta is not None:
                x = lip_swish(x, beta)
            x = convolve(x, weight, bias, padding=padding)
        return x

    def with_tangents(self, x: Tensor, tangents: Tensor, tensors: Sequence[Tensor]) -> tuple[Tensor, Tensor]:
        """Return `g(x) (B,C,H,W)` and `J v` of each tangent, `(M,B,C,H,W)`, differentiable in everything."""
        many, batch = tangents.shape[:2]
        for beta, weight, bias, padding in self._steps(tensors):
            if beta is not None:
                tangents = tangents * lip_swish_slope(x, beta)
                x = lip_swish(x, beta)
            both = convolve(torch.cat((x, tangents.flatten(0, 1))), weight, padding=padding)
            x, tangents = both.split((batch, many * batch))
            x, tangents = x + bias[:, None, None], tangents.unflatten(0, (many, batch))
        return x, tangents

    @torch.no_grad()
    def linearise(self, x: Tensor, tensors: Sequence[Tensor]) -> tuple[Tensor, Callable[[Tensor], Tensor]]:
        """Return `g(x)` and the map `w -> Jᵀ w`, with J the Jacobian of g at `x`.

        By hand, not by autograd: the slopes are computed once for all the products to come, and a product is
        few convolutions and as many multiplications.
        """
        linear: list[tuple[Tensor, Tensor | None, int]] = []
        for beta, weight, bias, padding in self._steps(tensors):
            slope = None
            if beta is not None:
                slope = lip_swish_slope(x, beta)
                x = lip_swish(x, beta)
            x = convolve(x, weight, bias, padding=padding)
            linear.append((weight.flip(2, 3).transpose(0, 1).contiguous(), slope, padding))

        @torch.no_grad()
        def vjp(w: Tensor) -> Tensor:
            for transposed, slope, padding in reversed(linear):
                w = convolve(w, transposed, padding=padding)
                if slope is not None:
                    w = w * slope
            return w

        return x, vjp

    def forward(self, x: Tensor) -> Tensor:
        """Map `x (B,C,H,W)` to the same shape."""
        return self.apply_with(x, self.tensors())


class FullyConnectedNet(LipschitzNet):
    """LipSwish and a fully connected layer, three times, on the flattened image.

    A layer is a 1×1 convolution of an image of one pixel.

    Args:
        shape: (C, H, W) of the images.
        hidden: units between the layers.
        coefficient: bound on each layer's operator norm, below 1.
        store_norms: see `LipschitzConv2d`.
    """

    def __init__(
        self, shape: tuple[int, int, int], hidden: int, coefficient: float, store_norms: bool = False
    ):
        super().__init__(
            math.prod(shape), hidden, (1, 1), coefficient, kernels=(1, 1, 1), store_norms=store_norms
        )
        self.reach = None

    def apply_with(self, x: Tensor, tensors: Sequence[Tensor]) -> Tensor:
        """See `LipschitzNet.apply_with`."""
        return super().apply_with(_one_pixel(x), tensors).view(x.shape)

    def with_tangents(self, x: Tensor, tangents: Tensor, tensors: Sequence[Tensor]) -> tuple[Tensor, Tensor]:
        """See `LipschitzNet.with_tangents`."""
        g, products = super().with_tangents(_one_pixel(x), tangents.flatten(2)[..., None, None], tensors)
        return g.view(x.shape), products.view(tangents.shape)

    def linearise(self, x: Tensor, tensors: Sequence[Tensor]) -> tuple[Tensor, Callable[[Tensor], Tensor]]:
        """See `LipschitzNet.linearise`."""
        g, vjp = super().linearise(_one_pixel(x), tensors)
        return g.view(x.shape), lambda w: vjp(_one_pixel(w)).view(w.shape)


def _one_pixel(x: Tensor) -> Tensor:
    return x.flatten(1)[..., None, None]
