"""A stack of convolutional LSTM layers (Shi et al., arXiv 1506.04214, without peepholes)."""

import math

import torch
from torch import Tensor, nn
from torch.nn import functional

State = list[tuple[Tensor, Tensor]]


class ConvLSTM(nn.Module):
    """`layers` convolutional LSTM layers of `channels` hidden channels; gates in the order i, f, g, o.

    What does not wait for the step before is taken out of the recurrence: a layer's input-to-hidden
    convolutions of all steps are one batch, and only the hidden-to-hidden convolution is sequential.
    """

    def __init__(self, channels: int, layers: int, kernel_size: int, dilation: int = 1):
        super().__init__()
        self.channels, self.dilation = channels, dilation
        self.padding = dilation * (kernel_size - 1) // 2
        bound = 1 / math.sqrt(channels)

        def uniform(*shape: int) -> nn.Parameter:
            return nn.Parameter(torch.empty(4 * channels, *shape).uniform_(-bound, bound))

        kernel = (channels, kernel_size, kernel_size)
        self.input_weights = nn.ParameterList(uniform(*kernel) for _ in range(layers))
        self.hidden_weights = nn.ParameterList(uniform(*kernel) for _ in range(layers))
        self.biases = nn.ParameterList(uniform() for _ in range(layers))

    def convolve(self, x: Tensor, weight: Tensor, bias: Tensor | None = None) -> Tensor:
        """Convolve with this stack's padding and dilation."""
        return functional.conv2d(x, weight, bias, padding=self.padding, dilation=self.dilation)

    def input_gates(self, x: Tensor, layer: int, bias: bool = True) -> Tensor:
        """The input's share of a layer's gates, `x (N,channels,H,W)` → `(N,4 channels,H,W)`."""
        return self.convolve(x, self.input_weights[layer], self.biases[layer] if bias else None)

    def step(self, gates: Tensor, layer: int, state: tuple[Tensor, Tensor] | None) -> tuple[Tensor, Tensor]:
        """One step of one layer from the input's share of its gates; returns `h, c`."""
        if state is None:
            i, _, g, o = gates.chunk(4, 1)
            c = torch.sigmoid(i) * torch.tanh(g)
        else:
            h, c = state
            i, f, g, o = (gates + self.convolve(h, self.hidden_weights[layer])).chunk(4, 1)
            c = torch.sigmoid(f) * c + torch.sigmoid(i) * torch.tanh(g)
        return torch.sigmoid(o) * torch.tanh(c), c

    def forward(self, gates: Tensor) -> Tensor:
        """Run all steps: layer 0's `gates (T,B,4 channels,H,W)` → the last layer's h `(T,B,channels,H,W)`."""
        hidden = self._recur(gates, 0)
        for layer in range(1, len(self.biases)):
            gates = self.input_gates(hidden.flatten(0, 1), layer).unflatten(0, gates.shape[:2])
            hidden = self._recur(gates, layer)
        return hidden

    def _recur(self, gates: Tensor, layer: int) -> Tensor:
        state, outputs = None, []
        for now in gates:
            state = self.step(now, layer, state)
            outputs.append(state[0])
        return torch.stack(outputs)

    def advance(self, gates: Tensor, state: State | None) -> tuple[Tensor, State]:
        """One step of all layers: `gates (B,4 channels,H,W)` of layer 0 → the last layer's h, new state."""
        new: State = []
        for layer in range(len(self.biases)):
            if layer:
                gates = self.input_gates(new[-1][0], layer)
            new.append(self.step(gates, layer, state and state[layer]))
        return new[-1][0], new
