"""Values derived from parameters: computed once, and anew when it matters."""

import copy
import gc

import pytest
import torch
from torch import nn

from marscf import kernels
from marscf.flows.conv1x1 import InvertibleConv1x1
from marscf.kernels import cached, lstm
from marscf.kernels.cached import derived, kept
from marscf.models.multiscale_flow import MultiScaleFlow
from marscf.nets.conv_lstm import ConvLSTM


class Doubled(nn.Module):
    def __init__(self):
        super().__init__()
        self.weight = nn.Parameter(torch.ones(2))
        self.calls = 0

    @derived
    def double(self):
        self.calls += 1
        return 2 * self.weight


def test_computed_once_for_each_set_of_parameters():
    module = Doubled()
    with torch.no_grad():
        assert module.double() is module.double()
        module.weight.add_(1)
        assert module.double().tolist() == [4, 4]
    assert module.calls == 2
    module.weight.data.add_(1)  # autograd does not see it
    with torch.no_grad():
        assert module.double().tolist() == [4, 4]
        cached.forget()
        assert module.double().tolist() == [6, 6]


def test_nothing_is_kept_where_a_gradient_flows_or_all_is_plain():
    module = Doubled()
    for _ in range(2):
        module.double().sum().backward()
    assert module.weight.grad.tolist() == [4, 4]
    with torch.no_grad(), kernels.plain():
        module.double(), module.double()
    assert module.calls == 4


def test_a_copy_keeps_its_own():
    module = Doubled()
    with torch.no_grad():
        module.double()
        twin = copy.deepcopy(module)
        twin.weight.data.zero_()
        assert twin.double().tolist() == [0, 0] and module.double().tolist() == [2, 2]


def test_what_is_kept_of_a_tensor_goes_with_it():
    source = torch.ones(3)
    assert kept([source], lambda: "value") == kept([source], lambda: "other") == "value"
    count = len(cached._kept)
    del source
    gc.collect()
    assert len(cached._kept) == count - 1


@pytest.mark.parametrize("mode", [True, False])
def test_a_model_forgets_when_its_mode_is_set(mode):
    model = MultiScaleFlow((1, 8, 8), 256, levels=1, steps=1, channels=4).eval()
    conv = next(module for module in model.modules() if isinstance(module, InvertibleConv1x1))
    with torch.no_grad():
        before = conv.weight()
        conv.log_s.data += 1  # autograd does not see it
        assert conv.weight() is before
        model.train(mode)
        assert not torch.allclose(conv.weight(), before)


def test_arranged_kernels_follow_their_weights(monkeypatch):
    """As on a GPU, where an arranged kernel is a copy."""
    monkeypatch.setattr(lstm, "_on_gpu", lambda x: True)
    torch.manual_seed(0)
    net, x = ConvLSTM(3, 2, 3).eval(), torch.randn(2, 12, 4, 4)
    with torch.no_grad():
        before, _ = net.advance(x, None)
        net.input_weights[1].mul_(2)
        after, _ = net.advance(x, None)
        with kernels.plain():
            expected, _ = net.advance(x, None)
    assert not torch.equal(before, after)
    torch.testing.assert_close(after, expected)
