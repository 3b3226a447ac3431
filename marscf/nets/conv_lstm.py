"""A stack of convolutional LSTM layers (Shi et al., arXiv 1506.04214, without peepholes)."""

import math

import torch
from torch import Tensor, nn

from marscf.kernels import lstm

State = list[lstm.State]  # h and c of each layer


class ConvLSTM(nn.Module):
    """`layers` convolutional LSTM layers of `channels` hidden channels; gates in the order i, f, g, o.

        i, f, o = σ(·), g = tanh(·)  of  W_in ∗ x + b + W_hidden ∗ h_before
        c = f c_before + i g,   h = o tanh(c)

    What does not wait for the step before is taken out of the recurrence: the input-to-hidden convolutions of
    all steps of a layer are one batch, and only the hidden-to-hidden convolution is sequential.
    """

    def __init__(self, channels: int, layers: int, kernel_size: int, dilation: int = 1):
        super().__init__()
        self.dilation = dilation
        bound = 1 / math.sqrt(channels)

        def uniform(*shape: int) -> nn.Parameter:
            return nn.Parameter(torch.empty(4 * channels, *shape).uniform_(-bound, bound))

        kernel = (channels, kernel_size, kernel_size)
        self.input_weights = nn.ParameterList(uniform(*kernel) for _ in range(layers))
        self.hidden_weights = nn.ParameterList(uniform(*kernel) for _ in range(layers))
        self.biases = nn.ParameterList(uniform() for _ in range(layers))

    def input_gates(self, x: Tensor, layer: int, bias: bool = True) -> Tensor:
        """The input's share of a layer's gates, `x (N,channels,H,W)` → `(N,4 channels,H,W)`."""
        own = self.biases[layer] if bias else None
        return lstm.input_gates(x, self.input_weights[layer], own, self.dilation)

    def forward(self, gates: Tensor) -> Tensor:
        """Run all steps: layer 0's `gates (T,B,4 channels,H,W)` → the last layer's h `(T,B,channels,H,W)`."""
        hidden = lstm.recurrence(gates, self.hidden_weights[0], self.dilation)
        for layer, weight in list(enumerate(self.hidden_weights))[1:]:
            gates = self.input_gates(hidden.flatten(0, 1), layer).unflatten(0, gates.shape[:2])
            hidden = lstm.recurrence(gates, weight, self.dilation)
        return hidden

    def advance(self, gates: Tensor, state: State | None) -> tuple[Tensor, State]:
        """One step of all layers: `gates (B,4 channels,H,W)` of layer 0 → the last layer's h, new state."""
        new: State = []
        for layer, weight in enumerate(self.hidden_weights):
            if layer:
                gates = self.input_gates(new[-1][0], layer)
            new.append(lstm.step(gates, weight, state[layer] if state else None, self.dilation))
        return new[-1][0], new
