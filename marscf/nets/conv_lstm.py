"""A stack of convolutional LSTM layers (Shi et al., arXiv 1506.04214, without peepholes)."""

import math
from collections.abc import Sequence

import torch
from torch import Tensor, nn
from torch.autograd.function import once_differentiable
from torch.nn import functional

from marscf.gpu.fused import fused
from marscf.nets.cached import Cached, Caching

State = list[tuple[Tensor, Tensor]]


def arranged(x: Tensor) -> Tensor:
    """On a GPU, with channels innermost: its convolutions otherwise rearrange what they get and return."""
    return x.contiguous(memory_format=torch.channels_last) if x.is_cuda else x


def stacked(images: Sequence[Tensor]) -> Tensor:
    """Stack images `(B,C,H,W)` to `(T,B,C,H,W)`, channels innermost where they are."""
    if not images[0].is_contiguous(memory_format=torch.channels_last):
        return torch.stack(images)
    return torch.stack([x.permute(0, 2, 3, 1) for x in images]).permute(0, 1, 4, 2, 3)


class ConvLSTM(Caching):
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
        self._arranged = [[Cached() for _ in range(layers)] for _ in range(2)]

    def convolve(self, x: Tensor, weight: Tensor, kept: Cached, bias: Tensor | None = None) -> Tensor:
        """Convolve with this stack's padding and dilation."""
        weight = kept.get([weight], lambda: arranged(weight))
        return functional.conv2d(arranged(x), weight, bias, padding=self.padding, dilation=self.dilation)

    def input_gates(self, x: Tensor, layer: int, bias: bool = True) -> Tensor:
        """The input's share of a layer's gates, `x (N,channels,H,W)` → `(N,4 channels,H,W)`."""
        weight, kept = self.input_weights[layer], self._arranged[0][layer]
        return self.convolve(x, weight, kept, self.biases[layer] if bias else None)

    def step(self, gates: Tensor, layer: int, state: tuple[Tensor, Tensor] | None) -> tuple[Tensor, Tensor]:
        """One step of one layer from the input's share of its gates; returns `h, c`."""
        fed_back, before = None, None
        if state is not None:
            h, before = state
            fed_back = self.convolve(h, self.hidden_weights[layer], self._arranged[1][layer])
        *_, c, h = _cell(gates, fed_back, before)
        return h, c

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


@fused
def _cell(gates: Tensor, fed_back: Tensor | None, before: Tensor | None) -> tuple[Tensor, ...]:
    """Return i, f, g, o, c and h of one step, `(B,C,H,W)` each."""
    i, f, g, o = (gates if fed_back is None else gates + fed_back).chunk(4, 1)
    i, f, g, o = torch.sigmoid(i), torch.sigmoid(f), torch.tanh(g), torch.sigmoid(o)
    cell = i * g if before is None else torch.addcmul(i * g, f, before)
    return i, f, g, o, cell, o * torch.tanh(cell)


@fused
def _cell_backward(
    grad: Tensor,
    fed_back: Tensor | None,
    g_cell: Tensor | None,
    i: Tensor,
    f: Tensor,
    g: Tensor,
    o: Tensor,
    cell: Tensor,
    before: Tensor,
) -> tuple[Tensor, Tensor]:
    """Return the gradients in the gates `(B,4C,H,W)` and in the cell of the step before."""
    g_hidden = grad if fed_back is None else grad + fed_back
    squashed = torch.tanh(cell)
    change = g_hidden * o * (1 - squashed * squashed)
    g_cell = change if g_cell is None else change + g_cell
    parts = (
        g_cell * g * i * (1 - i),
        g_cell * before * f * (1 - f),
        g_cell * i * (1 - g * g),
        g_hidden * squashed * o * (1 - o),
    )
    return torch.cat(parts, 1), g_cell * f


class _Recurrence(torch.autograd.Function):
    """One layer's recurrence: the input's share of all gates `(T,B,4C,H,W)` → h of all steps `(T,B,C,H,W)`.

    Written by hand for the weight gradient, which is one convolution over all steps instead of T, and to
    keep six tensors a step (gates, c, h) instead of a dozen.
    """

    @staticmethod
    def forward(ctx, gates, weight, padding, dilation):
        kernel = arranged(weight.to(gates.dtype))
        acts, cells, hidden = [], [], []
        for now in arranged(gates.flatten(0, 1)).unflatten(0, gates.shape[:2]):
            fed_back, before = None, None
            if hidden:
                fed_back = functional.conv2d(hidden[-1], kernel, padding=padding, dilation=dilation)
                before = cells[-1]
            *act, cell, h = _cell(now, fed_back, before)
            acts.append(act), cells.append(cell), hidden.append(h)
        result = stacked(hidden)
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
        turned = arranged(weight.to(hidden.dtype).transpose(0, 1).flip(2, 3).contiguous())
        grad = arranged(grad.flatten(0, 1)).unflatten(0, grad.shape[:2])
        place = {"padding": ctx.padding, "dilation": ctx.dilation}
        g_gates, g_cell = [], None
        for t in reversed(range(steps)):
            fed_back = functional.conv2d(g_gates[-1], turned, **place) if g_gates else None
            before = cells[t - 1] if t else torch.zeros_like(cells[t])
            g_now, g_cell = _cell_backward(
                grad[t], fed_back, g_cell, *acts[4 * t : 4 * t + 4], cells[t], before
            )
            g_gates.append(g_now)
        gates = stacked(g_gates[::-1])
        g_weight = torch.zeros_like(weight)
        if steps > 1:
            g_weight = torch.nn.grad.conv2d_weight(
                hidden[:-1].flatten(0, 1), weight.shape, gates[1:].flatten(0, 1), **place
            ).to(weight.dtype)
        return gates, g_weight, None, None
