"""A stack of convolutional LSTM layers (Shi et al., arXiv 1506.04214, without peepholes)."""

import math

import torch
from torch import Tensor, nn
from torch.autograd.function import once_differentiable
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
        return _Recurrence.apply(gates, self.hidden_weights[layer], self.padding, self.dilation)

    def advance(self, gates: Tensor, state: State | None) -> tuple[Tensor, State]:
        """One step of all layers: `gates (B,4 channels,H,W)` of layer 0 → the last layer's h, new state."""
        new: State = []
        for layer in range(len(self.biases)):
            if layer:
                gates = self.input_gates(new[-1][0], layer)
            new.append(self.step(gates, layer, state and state[layer]))
        return new[-1][0], new


class _Recurrence(torch.autograd.Function):
    """One layer's recurrence: the input's share of all gates `(T,B,4C,H,W)` → h of all steps `(T,B,C,H,W)`.

    Written by hand for the weight gradient, which is one convolution over all steps instead of T, and to
    keep six tensors a step (gates, c, h) instead of a dozen.
    """

    @staticmethod
    def forward(ctx, gates, weight, padding, dilation):
        kernel = weight.to(gates.dtype)
        acts, cells, hidden = [], [], []
        for now in gates:
            if hidden:
                now = now + functional.conv2d(hidden[-1], kernel, padding=padding, dilation=dilation)
            i, f, g, o = now.chunk(4, 1)
            i, f, g, o = torch.sigmoid(i), torch.sigmoid(f), torch.tanh(g), torch.sigmoid(o)
            cells.append(torch.addcmul(i * g, f, cells[-1]) if cells else i * g)
            hidden.append(o * torch.tanh(cells[-1]))
            acts.append((i, f, g, o))
        result = torch.stack(hidden)
        ctx.padding, ctx.dilation = padding, dilation
        ctx.save_for_backward(weight, result, *cells, *(act for step in acts for act in step))
        return result

    @staticmethod
    @once_differentiable
    def backward(ctx, grad):
        weight, hidden, *saved = ctx.saved_tensors
        steps = len(hidden)
        cells, acts = saved[:steps], saved[steps:]
        # The gradient of a same-size convolution in its input is one with the kernel turned round.
        turned = weight.to(hidden.dtype).transpose(0, 1).flip(2, 3).contiguous()
        place = {"padding": ctx.padding, "dilation": ctx.dilation}
        g_gates, g_cell = [], None
        for t in reversed(range(steps)):
            i, f, g, o = acts[4 * t : 4 * t + 4]
            g_hidden = grad[t]
            if g_gates:
                g_hidden = g_hidden + functional.conv2d(g_gates[-1], turned, **place)
            squashed = torch.tanh(cells[t])
            change = g_hidden * o * (1 - squashed * squashed)
            g_cell = change if g_cell is None else change + g_cell
            before = cells[t - 1] if t else torch.zeros_like(f)
            g_gates.append(
                torch.cat(
                    (
                        g_cell * g * i * (1 - i),
                        g_cell * before * f * (1 - f),
                        g_cell * i * (1 - g * g),
                        g_hidden * squashed * o * (1 - o),
                    ),
                    1,
                )
            )
            g_cell = g_cell * f
        gates = torch.stack(g_gates[::-1])
        g_weight = torch.zeros_like(weight)
        if steps > 1:
            g_weight = torch.nn.grad.conv2d_weight(
                hidden[:-1].flatten(0, 1), weight.shape, gates[1:].flatten(0, 1), **place
            ).to(weight.dtype)
        return gates, g_weight, None, None
