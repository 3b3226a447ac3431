import numpy as np
import pytest
import torch
from scipy.special import log_expit, log_softmax, logsumexp

from marscf.flows.mixture import inverse_log_odds, log_odds, log_terms


def reference(x, logits, means, log_scales):
    """log F, log S, log f in float64, written down as defined; components on the last axis."""
    x, logits, means, log_scales = (np.asarray(t, np.float64) for t in (x, logits, means, log_scales))
    z = (x[..., None] - means) * np.exp(-log_scales)
    w = log_softmax(logits, -1)
    return (
        logsumexp(w + log_expit(z), -1),
        logsumexp(w + log_expit(-z), -1),
        logsumexp(w + log_expit(z) + log_expit(-z) - log_scales, -1),
    )


def components_second(*tensors):
    """`(N,K)` → `(N,K,1)`: the layout of the functions under test, with x `(N,1)`."""
    return [t.unsqueeze(2) for t in tensors]


def mixtures(n: int, k: int, spread: float, low: float, high: float):
    generator = torch.Generator().manual_seed(0)
    logits = 2 * torch.randn(n, k, generator=generator)
    means = spread * torch.randn(n, k, generator=generator)
    log_scales = low + (high - low) * torch.rand(n, k, generator=generator)
    return logits, means, log_scales


@pytest.mark.parametrize("low, high", [(-1, 1), (-7, -7), (-7, 3)])
@pytest.mark.parametrize("spread", [0.5, 5])
def test_both_tails_in_float32(low, high, spread):
    """Log-odds up to ±80, scales at the clamp: within 1e-4 of float64."""
    target = torch.linspace(-80, 80, 641)
    mixture = mixtures(len(target), 8, spread, low, high)
    arguments = components_second(*mixture)
    x = inverse_log_odds(target[:, None], *arguments)  # so that x reaches every log-odds
    terms = [t[:, 0].numpy() for t in log_terms(x, *arguments)]
    log_cdf, log_survival, log_pdf = reference(x[:, 0], *mixture)
    for ours, theirs in zip(terms, (log_cdf, log_survival, log_pdf), strict=True):
        np.testing.assert_allclose(ours, theirs, atol=1e-4, rtol=1e-6)
    value, log_slope = (t[:, 0].numpy() for t in log_odds(x, *arguments))
    np.testing.assert_allclose(value, log_cdf - log_survival, atol=1e-4)
    np.testing.assert_allclose(log_slope, log_pdf - log_cdf - log_survival, atol=1e-4)
    assert np.abs(log_cdf - log_survival).max() > 79


@pytest.mark.parametrize("x", [-1e3, -30.0, 30.0, 1e3])
@pytest.mark.parametrize("log_scale", [-7.0, 0.0, 3.0])
def test_far_outside(x, log_scale):
    logits, means, _ = mixtures(1, 4, 1, 0, 0)
    mixture = (logits, means, torch.full((1, 4), log_scale))
    terms = log_terms(torch.tensor([[x]]), *components_second(*mixture))
    for ours, theirs in zip(terms, reference([x], *mixture), strict=True):
        np.testing.assert_allclose(ours[0].numpy(), theirs, rtol=1e-6, atol=1e-4)


@pytest.mark.parametrize("low, high", [(-1, 1), (-7, -7), (-7, 3)])
def test_inverse_in_float32(low, high):
    target = torch.cat((torch.linspace(-80, 80, 401), torch.linspace(-3, 3, 401)))
    mixture = mixtures(len(target), 8, 2, low, high)
    x = inverse_log_odds(target[:, None], *components_second(*mixture))
    exact = inverse_log_odds(target[:, None].double(), *components_second(*(t.double() for t in mixture)))
    # The float64 inverse is judged by the written-down definition, the float32 one by it.
    log_cdf, log_survival, _ = reference(exact[:, 0], *mixture)
    np.testing.assert_allclose(log_cdf - log_survival, target.double(), atol=1e-9)
    torch.testing.assert_close(x.double(), exact, atol=1e-4, rtol=1e-6)


def test_inverse_of_spikes_each_alone():
    """Between spikes the slope all but vanishes, and no neighbour's iterations hide an end too early."""
    target = torch.linspace(-3, 3, 401, dtype=torch.float64)
    mixture = [t[-401:].double() for t in mixtures(802, 8, 2, -7, -7)]
    for one, *parameters in list(zip(target, *mixture, strict=True))[200:230]:
        x = inverse_log_odds(one[None, None], *components_second(*(t[None] for t in parameters)))
        log_cdf, log_survival, _ = reference(x[:, 0], *parameters)
        assert log_cdf - log_survival == pytest.approx(one.item(), abs=1e-9)


def test_inverse_far_beyond_single_precision():
    """Log-odds that no exponential of a float32 can hold."""
    target = torch.tensor([[-5e3], [-200.0], [200.0], [5e3]])
    mixture = components_second(*mixtures(4, 5, 1, -1, 1))
    x = inverse_log_odds(target, *mixture)
    torch.testing.assert_close(log_odds(x, *mixture)[0], target, atol=1e-3, rtol=1e-5)


def test_naive_upper_tail_is_wrong():
    """What the log-sum-exps are for: at log-odds 15.5 -log(1/F - 1) is off in float32."""
    x, mixture = torch.tensor([[15.5]]), components_second(*(torch.zeros(1, 1),) * 3)
    cdf = log_terms(x, *mixture)[0].exp()
    assert abs(-torch.log(1 / cdf - 1) - 15.5) > 0.1
    torch.testing.assert_close(log_odds(x, *mixture)[0], x, atol=1e-6, rtol=0)


def test_gradients():
    torch.manual_seed(0)
    shapes = ((2, 2, 1, 2), (2, 3, 2, 1, 2), (2, 3, 2, 1, 2), (2, 3, 2, 1, 2))
    arguments = [torch.randn(shape, dtype=torch.float64, requires_grad=True) for shape in shapes]
    assert torch.autograd.gradcheck(log_terms, arguments)
    assert torch.autograd.gradcheck(inverse_log_odds, arguments)


def test_few_iterations(monkeypatch):
    """At most 9 iterations on mixtures such as training makes, in float32."""
    from marscf.kernels import mixture as module

    calls, plain = [], module._value_and_slope
    monkeypatch.setattr(module, "_value_and_slope", lambda *a: calls.append(1) or plain(*a))
    target = torch.logit(torch.linspace(1e-4, 1 - 1e-4, 2001))
    inverse_log_odds(target[:, None], *components_second(*mixtures(len(target), 32, 0.7, -1.5, 0.5)))
    assert len(calls) <= 9
