"""Adamax, in what a training needs of it."""

from collections.abc import Iterable
from typing import Any

import torch
from torch import Tensor


class Adamax:
    """Adamax (Kingma and Ba, arXiv 1412.6980, algorithm 2), with the numbers of `torch.optim.Adamax`.

    Written out here because the first optimiser of `torch.optim` imports the whole compiler of torch, which
    takes seconds in each process, and because its state is then plain: two lists of tensors and a count.
    """

    def __init__(
        self,
        parameters: Iterable[Tensor],
        betas: tuple[float, float] = (0.9, 0.999),
        eps: float = 1e-8,
        weight_decay: float = 0.0,
    ):
        self.parameters = list(parameters)
        self.betas, self.eps, self.weight_decay = betas, eps, weight_decay
        self.steps = 0
        self.mean = [torch.zeros_like(p) for p in self.parameters]  # of the gradients
        self.largest = [torch.zeros_like(p) for p in self.parameters]  # their decayed infinity norm

    @torch.no_grad()
    def step(self, learning_rate: float) -> None:
        """Update the parameters by their gradients; one that has none counts as having gradient 0."""
        self.steps += 1
        beta1, beta2 = self.betas
        gradients = [torch.zeros_like(p) if p.grad is None else p.grad for p in self.parameters]
        if self.weight_decay:
            gradients = torch._foreach_add(gradients, self.parameters, alpha=self.weight_decay)
        torch._foreach_lerp_(self.mean, gradients, 1 - beta1)
        torch._foreach_mul_(self.largest, beta2)
        magnitudes = torch._foreach_abs(gradients)
        torch._foreach_add_(magnitudes, self.eps)
        torch._foreach_maximum_(self.largest, magnitudes)
        rate = learning_rate / (1 - beta1**self.steps)
        torch._foreach_addcdiv_(self.parameters, self.mean, self.largest, value=-rate)

    def zero_grad(self) -> None:
        """Forget the gradients."""
        for parameter in self.parameters:
            parameter.grad = None

    def state_dict(self) -> dict[str, Any]:
        """Return what the next step depends on."""
        return {"steps": self.steps, "mean": self.mean, "largest": self.largest}

    def load_state_dict(self, saved: dict[str, Any]) -> None:
        """Take over what `state_dict` gave."""
        self.steps = saved["steps"]
        for own, other in ((self.mean, saved["mean"]), (self.largest, saved["largest"])):
            for mine, theirs in zip(own, other, strict=True):
                mine.copy_(theirs)
