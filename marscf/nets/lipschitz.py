"""Networks with a Lipschitz constant below 1: spectrally normalised convolutions and LipSwish.

Sources: arXiv 1811.00995, 1906.02735. A network's parameters are first made into the
tensors that really act (`tensors`), once a step; `apply_with` is then a function of the input and those
alone, which the log-determinant's many vector-Jacobian products go through.
"""

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from marscf.nets.cached import Cached

TOLERANCE = 1e-6  # relative change of the norm at which evaluation's power iteration ends
MAX_ITERATIONS = 2000
KERNELS = (3, 1, 3)  # of a block's three convolutions


class LipschitzConv2d(nn.Module):
    """A convolution, zero-padded to keep the image's size, whose operator norm is at most `coefficient`.

    The norm is that of the linear map on whole images, `(in,H,W)` to `(out,H,W)`, by power iteration on the
    convolution itself (arXiv 1804.04368), not of the reshaped kernel. In training mode the iterate `vector`
    is carried from step to step by `iterate`; in eval mode the iteration runs to convergence for the weights
    at hand.

    Weights of one image size load into a model of another: the vector is then found again.
    """

    def __init__(
        self, channels: int, out_channels: int, kernel: int, size: tuple[int, int], coefficient: float
    ):
        super().__init__()
        layer = nn.Conv2d(channels, out_channels, kernel)
        self.weight, self.bias = layer.weight, layer.bias
        self.coefficient, self.padding = coefficient, kernel // 2
        # A 1×1 convolution is the same matrix at every pixel: one pixel will do.
        self.register_buffer("vector", torch.randn(1, channels, *(size if kernel > 1 else (1, 1))))
        self._converged = Cached()

    def _advance(self, v: Tensor) -> tuple[Tensor, Tensor]:
        """One power iteration: the next unit vector, and the norm that `v` shows."""
        v = v / torch.linalg.vector_norm(v)
        image = F.conv2d(v, self.weight, padding=self.padding)
        return F.conv_transpose2d(image, self.weight, padding=self.padding), torch.linalg.vector_norm(image)

    @torch.no_grad()
    def iterate(self, iterations: int) -> None:
        """Follow the weights with `vector` by some power iterations."""
        v = self.vector
        for _ in range(iterations):
            v, _ = self._advance(v)
        self.vector.copy_(v / torch.linalg.vector_norm(v))

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
        v = self.vector
        if not self.training:
            v = self._converged.get([self.weight.detach(), self.vector], self._leading_vector)
        return torch.linalg.vector_norm(
            F.conv2d(v / torch.linalg.vector_norm(v), self.weight, padding=self.padding)
        )

    def tensors(self) -> list[Tensor]:
        """The normalised weight, scaled down only where its norm exceeds the coefficient, and the bias."""
        return [self.weight * (self.coefficient / self.norm()).clamp(max=1), self.bias]

    def train(self, mode: bool = True) -> "LipschitzConv2d":
        """See `nn.Module.train`; forgets the converged vector."""
        self._converged.clear()
        return super().train(mode)

    def _load_from_state_dict(self, state: dict, prefix: str, *args) -> None:
        self._converged.clear()
        stored = state.get(prefix + "vector")
        if stored is not None and stored.shape != self.vector.shape:
            state[prefix + "vector"] = self.vector
        super()._load_from_state_dict(state, prefix, *args)


def lip_swish(x: Tensor, beta: Tensor) -> Tensor:
    """`x σ(β x) / 1.1`, whose slope is below 1 for every β > 0 (arXiv 1906.02735, Eq. 9)."""
    return x * torch.sigmoid(beta * x) / 1.1


class LipschitzNet(nn.Module):
    """LipSwish, 3×3 convolution, LipSwish, 1×1, LipSwish, 3×3, with Lipschitz constant below `coefficient³`.

    Args:
        channels: of input and output.
        hidden_channels: between the convolutions.
        size: (H, W) of the images.
        coefficient: bound on each convolution's operator norm, below 1.
        activate_first: False leaves out the first LipSwish, as at the very start of a flow.
    """

    def __init__(
        self,
        channels: int,
        hidden_channels: int,
        size: tuple[int, int],
        coefficient: float,
        activate_first: bool = True,
    ):
        super().__init__()
        widths = (channels, *[hidden_channels] * (len(KERNELS) - 1), channels)
        self.convs = nn.ModuleList(
            LipschitzConv2d(width, out, kernel, size, coefficient)
            for width, out, kernel in zip(widths[:-1], widths[1:], KERNELS, strict=True)
        )
        self.activate_first = activate_first
        self.raw_betas = nn.Parameter(torch.full((len(KERNELS) - (not activate_first),), 0.5))
        self.bound = coefficient ** len(KERNELS)

    def tensors(self) -> list[Tensor]:
        """What `apply_with` needs beside the input, differentiable in the parameters."""
        return [F.softplus(self.raw_betas), *(t for conv in self.convs for t in conv.tensors())]

    def apply_with(self, x: Tensor, tensors: list[Tensor]) -> Tensor:
        """Map `x (B,C,H,W)` to the same shape."""
        betas = iter(tensors[0])
        for index, kernel in enumerate(KERNELS):
            if index or self.activate_first:
                x = lip_swish(x, next(betas))
            x = F.conv2d(x, tensors[1 + 2 * index], tensors[2 + 2 * index], padding=kernel // 2)
        return x

    def forward(self, x: Tensor) -> Tensor:
        """Map `x (B,C,H,W)` to the same shape."""
        return self.apply_with(x, self.tensors())
