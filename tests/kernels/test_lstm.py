"""The recurrence on a GPU has its images' channels innermost; here a CPU is told to do the same."""

import torch

from marscf.kernels import lstm
from marscf.nets.conv_lstm import ConvLSTM


def test_arrangement_changes_nothing(monkeypatch):
    torch.manual_seed(0)
    net = ConvLSTM(6, 2, 3).double()
    gates = torch.randn(4, 2, 24, 5, 5, dtype=torch.float64, requires_grad=True)
    found = []
    for on_gpu in (False, True):
        monkeypatch.setattr(lstm, "_on_gpu", lambda x, on_gpu=on_gpu: on_gpu)
        hidden = net(gates)
        weights = [hidden, *torch.autograd.grad(hidden.square().sum(), [gates, *net.hidden_weights])]
        with torch.no_grad():
            h, state = net.advance(gates[0], None)
            h, _ = net.advance(gates[1], state)
        found.append([*weights, h])
    assert found[0][0].is_contiguous() and not found[1][0].is_contiguous()
    for plain, other in zip(*found, strict=True):
        torch.testing.assert_close(other, plain)
