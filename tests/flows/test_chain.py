import pytest
import torch
from cases import affine, mixlogcdf, shaken

from marscf.bench.measure import kept_bytes
from marscf.flows.actnorm import ActNorm
from marscf.flows.chain import Chain
from marscf.flows.step import FlowStep


def seeing(context: int) -> Chain:
    """Layers of which one takes a context of so many channels."""
    torch.manual_seed(0)
    chain = Chain(ActNorm(4), Chain(mixlogcdf(4, aux_channels=context)), last=ActNorm(4))
    return shaken(chain).double().eval()


def test_a_context_reaches_the_layers_that_take_one():
    chain, x, context = seeing(3), torch.randn(2, 4, 2, 2).double(), torch.randn(2, 3, 2, 2).double()
    z, log_det = chain(x, context)
    torch.testing.assert_close(chain.inverse(z, context), x)
    other, other_log_det = chain(x, context + 1)
    assert (other != z).any() and (other_log_det != log_det).all()
    jacobian = torch.autograd.functional.jacobian(lambda x: chain(x, context[:1])[0], x[:1])
    torch.testing.assert_close(torch.linalg.slogdet(jacobian.reshape(16, 16))[1], log_det[0])


def test_layers_are_named_by_keyword_or_by_place():
    step = FlowStep(4, affine(4))
    assert {name.split(".")[0] for name in step.state_dict()} == {"actnorm", "conv1x1", "coupling"}
    assert {name.split(".")[0] for name in seeing(3).state_dict()} == {"0", "1", "last"}


@pytest.mark.parametrize("depth", [1, 4])
def test_recomputation_changes_nothing_but_memory(depth):
    torch.manual_seed(0)
    chain = shaken(Chain(*(FlowStep(4, affine(4)) for _ in range(depth)))).double().eval()
    x = torch.randn(8, 4, 8, 8, dtype=torch.float64, requires_grad=True)
    parameters = list(chain.parameters())

    def loss(recompute: bool) -> torch.Tensor:
        z, log_det = chain(x, recompute=recompute)
        return z.square().sum() - log_det.sum()

    plain, recomputed = (torch.autograd.grad(loss(r), [x, *parameters]) for r in (False, True))
    torch.testing.assert_close(recomputed, plain)
    kept = [kept_bytes(lambda r=r: loss(r), parameters) for r in (False, True)]
    assert kept[1] < 0.5 * kept[0]
