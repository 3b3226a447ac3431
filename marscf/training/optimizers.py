"""Adamax and Adam, as far as training needs them (Kingma and Ba, arXiv 1412.6980).

Written out here because the first optimiser of `torch.optim` imports the whole compiler of torch, which
takes seconds in each process, and because their state is then plain: lists of tensors and a count.
"""

import math
from collections.abc import Iterable
from typing import Any

import torch
from torch import Tensor


class Optimizer:
    """What both have in common: an update by `mean / scale`, averages of gradients and of their size.

    Subclasses implement `_update`.

    Args:
        parameters: what is trained.
        betas: decay of the gradients' mean, and of their size.
        eps: keeps the size off zero.
        weight_decay: L2, added to the gradients.
    """

    def __init__(
        self,
        parameters: Iterable[Tensor],
        betas: tuple[float, float] = (0.9, 0.999),
        eps: float = 1e-8,
        weight_decay: float = 0.0,
    ):
        self.parameters = list(parameters)
        self.betas, self.eps, self.weight_decay = tuple(betas), eps, weight_decay
        self.steps = 0
        self.mean = [torch.zeros_like(p) for p in self.parameters]  # of the gradients
        self.size = [torch.zeros_like(p) for p in self.parameters]  # their size: see the subclasses

    @torch.no_grad()
    def step(self, learning_rate: float) -> None:
        """Update the parameters by their gradients; one that has none counts as having gradient 0."""
        self.steps += 1
        gradients = [torch.zeros_like(p) if p.grad is None else p.grad for p in self.parameters]
        if self.weight_decay:
            gradients = list(torch._foreach_add(gradients, self.parameters, alpha=self.weight_decay))
        torch._foreach_lerp_(self.mean, gradients, 1 - self.betas[0])
        self._update(gradients, learning_rate / (1 - self.betas[0] ** self.steps))

    def _update(self, gradients: list[Tensor], rate: float) -> None:
        raise NotImplementedError

    def zero_grad(self) -> None:
        """Forget the gradients."""
        for parameter in self.parameters:
            parameter.grad = None

    def state_dict(self) -> dict[str, Any]:
        """Return what the next step depends on."""
        return {"steps": self.steps, "mean": self.mean, "largest": self.size}  # "largest": Adamax's name

    def load_state_dict(self, saved: dict[str, Any]) -> None:
        """Take over what `state_dict` gave."""
        self.steps = saved["steps"]
        for own, other in ((self.mean, saved["mean"]), (self.size, saved["largest"])):
            for mine, theirs in zip(own, other, strict=True):
                mine.copy_(theirs)


class Adamax(Optimizer):
    """Algorithm 2 of the paper, with the numbers of `torch.optim.Adamax`: the size is a decayed maximum."""

    def _update(self, gradients: list[Tensor], rate: float) -> None:
        torch._foreach_mul_(self.size, self.betas[1])
        magnitudes = torch._foreach_abs(gradients)
        torch._foreach_add_(magnitudes, self.eps)
        torch._foreach_maximum_(self.size, magnitudes)
        torch._foreach_addcdiv_(self.parameters, self.mean, self.size, value=-rate)


class Adam(Optimizer):
    """Algorithm 1 of the paper, with the numbers of `torch.optim.Adam`: the size is a mean of squares."""

    def _update(self, gradients: list[Tensor], rate: float) -> None:
        beta = self.betas[1]
        torch._foreach_mul_(self.size, beta)
        torch._foreach_addcmul_(self.size, gradients, gradients, value=1 - beta)
        sizes = torch._foreach_sqrt(self.size)
        torch._foreach_div_(sizes, math.sqrt(1 - beta**self.steps))
        torch._foreach_add_(sizes, self.eps)
        torch._foreach_addcdiv_(self.parameters, self.mean, sizes, value=-rate)


OPTIMIZERS = {"adamax": Adamax, "adam": Adam}
