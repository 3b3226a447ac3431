import pytest
import torch

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


def test_on_single_pixels_it_is_torchs_lstm():
    torch.manual_seed(0)
    ours, theirs = ConvLSTM(5, 2, 1), torch.nn.LSTM(5, 5, num_layers=2)
    with torch.no_grad():
        for layer in range(2):
            getattr(theirs, f"weight_ih_l{layer}").copy_(ours.input_weights[layer].flatten(1))
            getattr(theirs, f"weight_hh_l{layer}").copy_(ours.hidden_weights[layer].flatten(1))
            getattr(theirs, f"bias_ih_l{layer}").copy_(ours.biases[layer])
            getattr(theirs, f"bias_hh_l{layer}").zero_()
    x = torch.randn(4, 3, 5)
    gates = ours.input_gates(x.flatten(0, 1)[:, :, None, None], 0).unflatten(0, (4, 3))
    torch.testing.assert_close(ours(gates).flatten(2), theirs(x)[0])


def test_gradients_numerically():
    torch.manual_seed(0)
    lstm = ConvLSTM(2, 1, 3).double()
    gates = torch.randn(3, 2, 8, 2, 2, dtype=torch.float64, requires_grad=True)
    assert torch.autograd.gradcheck(lstm, gates)
