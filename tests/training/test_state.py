"""A training state made when a model's layers stood in another order, or had other names, goes on."""

from typing import ClassVar

import torch
from torch import nn

from marscf.models.base import DensityModel
from marscf.settings import TrainingSettings
from marscf.training.state import State


class Now(DensityModel):
    renamed: ClassVar = {r"front\.": "first.", r"back\.": "second."}

    def __init__(self):
        super().__init__((1, 2, 2), 2)
        self.first, self.second = nn.Linear(3, 3), nn.Linear(3, 3)

    def log_prob(self, x, noise=None, estimate=None):
        return self.second(self.first(x)).sum(1)

    def sample(self, n, temperature=1.0, generator=None):
        raise NotImplementedError


class Then(Now):
    renamed: ClassVar = {}

    def __init__(self):
        DensityModel.__init__(self, (1, 2, 2), 2)
        self.back, self.front = nn.Linear(3, 3), nn.Linear(3, 3)

    def log_prob(self, x, noise=None, estimate=None):
        return self.back(self.front(x)).sum(1)


def step(state: State, x: torch.Tensor) -> None:
    state.optimizer.zero_grad()
    state.model.training_loss(x).mean().backward()
    state.update(0.1, 0.9)


def test_a_state_of_other_names_in_another_order():
    x = torch.randn(5, 3, generator=torch.Generator().manual_seed(0))
    settings = TrainingSettings()
    torch.manual_seed(0)
    then, now = State(Then(), settings), State(Now(), settings)
    for _ in range(3):
        step(then, x)
    now.load_dict(then.to_dict())
    for _ in range(3):
        step(then, x)
        step(now, x)
    for mine, theirs in ((now.model, then.model), (now.averaged, then.averaged)):
        assert torch.equal(mine.log_prob(x), theirs.log_prob(x))
        assert torch.equal(mine.first.weight, theirs.front.weight)
