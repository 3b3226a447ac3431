"""One layer of a convolutional LSTM (Shi et al., arXiv 1506.04214, without peepholes); gates i, f, g, o.

    i, f, o = σ(·), g = tanh(·)  of  gates + W ∗ h_before
    c = f c_before + i g,   h = o tanh(c)

`gates` is the input's share of the four gates, `(B,4C,H,W)`; `weight (4C,C,k,k)` is the hidden state's W.
"""

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable
from torch.nn import functional
from torch.nn.grad import conv2d_weight

from marscf.kernels import kernel
from marscf.kernels.cached import kept
from marscf.kernels.compiled import fused

State = tuple[Tensor, Tensor]  # h and c

# ---- the input's share of the gates


def input_gates_definition(
    x: Tensor, weight: Tensor, bias: Tensor | None = None, dilation: int = 1
) -> Tensor:
    """`W ∗ x + b`."""
    return functional.conv2d(x, weight, bias, padding=_padding(weight, dilation), dilation=dilation)


def _input_example() -> tuple[Tensor, Tensor, Tensor, int]:
    return _random(2, 3, 6, 5), _random(12, 3, 3, 3), _random(12), 2


@kernel(input_gates_definition, _input_example)
def input_gates(x: Tensor, weight: Tensor, bias: Tensor | None = None, dilation: int = 1) -> Tensor:
    """Return `W ∗ x + b`, `x (B,C,H,W)` → `(B,4C,H,W)`."""
    return _convolve(x, weight, dilation, bias)


# ---- one step


def step_definition(gates: Tensor, weight: Tensor, state: State | None, dilation: int = 1) -> State:
    """The formula above; without a state, h and c are zero."""
    if state is None:
        *_, c, h = _cell(gates, None, None)
    else:
        *_, c, h = _cell(gates, input_gates_definition(state[0], weight, None, dilation), state[1])
    return h, c


def _step_example() -> tuple[Tensor, Tensor, State, int]:
    return _random(2, 12, 6, 5), _random(12, 3, 3, 3), (_random(2, 3, 6, 5), _random(2, 3, 6, 5)), 2


@kernel(step_definition, _step_example)
def step(gates: Tensor, weight: Tensor, state: State | None, dilation: int = 1) -> State:
    """Return `h, c` of one step from the input's share of its gates and the step before."""
    fed_back, before = None, None
    if state is not None:
        fed_back, before = _convolve(state[0], weight, dilation), state[1]
    *_, c, h = _fused_cell(gates, fed_back, before)
    return h, c


def _cell(gates: Tensor, fed_back: Tensor | None, before: Tensor | None) -> tuple[Tensor, ...]:
    """Return i, f, g, o, c and h of one step, `(B,C,H,W)` each."""
    i, f, g, o = (gates if fed_back is None else gates + fed_back).chunk(4, 1)
    i, f, g, o = torch.sigmoid(i), torch.sigmoid(f), torch.tanh(g), torch.sigmoid(o)
    cell = i * g if before is None else torch.addcmul(i * g, f, before)
    return i, f, g, o, cell, o * torch.tanh(cell)


_fused_cell = fused(_cell)

# ---- all steps


def recurrence_definition(gates: Tensor, weight: Tensor, dilation: int = 1) -> Tensor:
    """One step after the other."""
    state, hidden = None, []
    for now in gates:
        state = step_definition(now, weight, state, dilation)
        hidden.append(state[0])
    return torch.stack(hidden)


def _recurrence_example() -> tuple[Tensor, Tensor, int]:
    return _random(4, 2, 12, 6, 5), _random(12, 3, 3, 3), 2


@kernel(recurrence_definition, _recurrence_example)
def recurrence(gates: Tensor, weight: Tensor, dilation: int = 1) -> Tensor:
    """Return h of all steps, `(T,B,C,H,W)`, from the input's share of all gates `(T,B,4C,H,W)`."""
    hidden: Tensor = _Recurrence.apply(gates, weight, dilation)
    return hidden


class _Recurrence(torch.autograd.Function):
    """The recurrence with a backward pass by hand.

    The weight's gradient is then one convolution over all steps instead of T, and six tensors per step
    (gates, c, h) are kept instead of a dozen.
    """

    @staticmethod
    def forward(ctx: Any, gates: Tensor, weight: Tensor, dilation: int) -> Tensor:
        own = _channels_last(weight.to(gates.dtype))
        acts: list[Tensor] = []
        cells: list[Tensor] = []
        hidden: list[Tensor] = []
        for now in _channels_last(gates.flatten(0, 1)).unflatten(0, gates.shape[:2]):
            fed_back, before = None, None
            if hidden:
                fed_back, before = input_gates_definition(hidden[-1], own, None, dilation), cells[-1]
            *act, cell, h = _fused_cell(now, fed_back, before)
            acts += act
            cells.append(cell)
            hidden.append(h)
        result = _stacked(hidden)
        ctx.dilation = dilation
        ctx.save_for_backward(weight, result, *cells, *acts)
        return result

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor, Tensor, None]:
        weight, hidden, *saved = ctx.saved_tensors
        steps = len(hidden)
        cells, acts = saved[:steps], saved[steps:]
        # The gradient of a same-size convolution in its input is one with the kernel turned round.
        turned = _channels_last(weight.to(hidden.dtype).transpose(0, 1).flip(2, 3).contiguous())
        grad = _channels_last(grad.flatten(0, 1)).unflatten(0, grad.shape[:2])
        g_gates: list[Tensor] = []
        g_cell = None
        for t in reversed(range(steps)):
            fed_back = None
            if g_gates:
                fed_back = input_gates_definition(g_gates[-1], turned, None, ctx.dilation)
            before = cells[t - 1] if t else torch.zeros_like(cells[t])
            i, f, g, o = acts[4 * t : 4 * t + 4]
            g_now, g_cell = _cell_backward(grad[t], fed_back, g_cell, i, f, g, o, cells[t], before)
            g_gates.append(g_now)
        gates = _stacked(g_gates[::-1])
        g_weight = torch.zeros_like(weight)
        if steps > 1:
            g_weight = conv2d_weight(
                hidden[:-1].flatten(0, 1),
                list(weight.shape),
                gates[1:].flatten(0, 1),
                padding=_padding(weight, ctx.dilation),
                dilation=ctx.dilation,
            ).to(weight.dtype)
        return gates, g_weight, None


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


# ---- layout


def _convolve(x: Tensor, weight: Tensor, dilation: int, bias: Tensor | None = None) -> Tensor:
    if _on_gpu(x):
        weight = kept([weight], lambda: _channels_last(weight))
    return input_gates_definition(_channels_last(x), weight, bias, dilation)


def _padding(weight: Tensor, dilation: int) -> int:
    return dilation * (weight.shape[-1] - 1) // 2


def _channels_last(x: Tensor) -> Tensor:
    """On a GPU, with channels innermost: its convolutions otherwise rearrange what they get and return."""
    return x.contiguous(memory_format=torch.channels_last) if _on_gpu(x) else x


def _on_gpu(x: Tensor) -> bool:
    return x.is_cuda


def _stacked(images: Sequence[Tensor]) -> Tensor:
    """Stack images `(B,C,H,W)` to `(T,B,C,H,W)`, channels innermost where they are."""
    if not images[0].is_contiguous(memory_format=torch.channels_last):
        return torch.stack(list(images))
    return torch.stack([x.permute(0, 2, 3, 1) for x in images]).permute(0, 1, 4, 2, 3)


def _random(*shape: int) -> Tensor:
    return torch.randn(*shape, dtype=torch.float64)
