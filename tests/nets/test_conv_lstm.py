import pytest
import torch

from marscf.nets import conv_lstm
from marscf.nets.conv_lstm import ConvLSTM


def step_by_step(lstm: ConvLSTM, gates: torch.Tensor) -> torch.Tensor:
    """The same recurrence, all layers one step at a time, differentiated by autograd."""
    state, outputs = None, []
    for now in gates:
        hidden, state = lstm.advance(now, state)
        outputs.append(hidden)
    return torch.stack(outputs)


@pytest.mark.parametrize("kernel_size, dilation", [(3, 1), (5, 2)])
@pytest.mark.parametrize("steps, batch", [(1, 1), (5, 3)])
def test_whole_sequence_equals_steps(kernel_size, dilation, steps, batch):
    torch.manual_seed(0)
    lstm = ConvLSTM(3, 2, kernel_size, dilation).double()
    gates = torch.randn(steps, batch, 12, 3, 4, dtype=torch.float64, requires_grad=True)
    weights = torch.randn(steps, batch, 3, 3, 4, dtype=torch.float64)
    results = []
    for run in (lstm, lambda gates: step_by_step(lstm, gates)):
        hidden = run(gates)
        wanted = [gates, *lstm.hidden_weights, lstm.input_weights[1], lstm.biases[1]]
        gradients = torch.autograd.grad((hidden * weights).sum(), wanted, allow_unused=True)
        results.append([hidden, *(g if g is not None else gates.new_zeros(()) for g in gradients)])
    for fast, plain in zip(*results, strict=True):
        torch.testing.assert_close(fast, plain.expand_as(fast), atol=1e-12, rtol=1e-10)


def test_gradients_numerically():
    torch.manual_seed(0)
    lstm = ConvLSTM(2, 1, 3).double()
    gates = torch.randn(3, 2, 8, 2, 2, dtype=torch.float64, requires_grad=True)
    assert torch.autograd.gradcheck(lstm, gates)


def test_arrangement_changes_nothing(monkeypatch):
    torch.manual_seed(0)
    lstm = ConvLSTM(6, 2, 3).double()
    gates = torch.randn(4, 2, 24, 5, 5, dtype=torch.float64, requires_grad=True)
    found = []
    for arranged in (conv_lstm.arranged, lambda x: x.contiguous(memory_format=torch.channels_last)):
        monkeypatch.setattr(conv_lstm, "arranged", arranged)
        hidden = lstm(gates)
        weights = [hidden, *torch.autograd.grad(hidden.square().sum(), [gates, *lstm.hidden_weights])]
        with torch.no_grad():
            h, state = lstm.advance(gates[0], None)
            h, _ = lstm.advance(gates[1], state)
        found.append([*weights, h])
    assert found[0][0].is_contiguous() and not found[1][0].is_contiguous()
    for plain, other in zip(*found, strict=True):
        torch.testing.assert_close(other, plain)


def test_setting_the_mode_forgets_arranged_kernels(monkeypatch):
    """As on a GPU, where an arranged kernel is a copy: weights may have changed unseen since."""
    monkeypatch.setattr(conv_lstm, "arranged", torch.clone)
    torch.manual_seed(0)
    lstm, gates = ConvLSTM(3, 2, 3).eval(), torch.randn(1, 2, 12, 4, 4)
    with torch.no_grad():
        before, _ = lstm.advance(gates[0], None)
        lstm.input_weights[1].data.mul_(2)  # behind autograd's back
        after, _ = lstm.eval().advance(gates[0], None)
        fresh = ConvLSTM(3, 2, 3)
        fresh.load_state_dict(lstm.state_dict())
        expected, _ = fresh.advance(gates[0], None)
    assert not torch.equal(before, after)
    torch.testing.assert_close(after, expected)
