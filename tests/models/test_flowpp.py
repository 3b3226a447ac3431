import pytest
import torch
from baselines import config, images, noise, options_of, tiny

from marscf.flows.actnorm import ActNorm
from marscf.flows.conv1x1 import InvertibleConv1x1
from marscf.flows.coupling import MixLogCDFCoupling
from marscf.models import build
from marscf.models.flowpp import FlowPP
from marscf.nets.gated_attention import GatedAttention
from marscf.nets.weight_norm import WeightNorm


@pytest.mark.parametrize("dataset, theirs", [("cifar10", 31_443_440), ("imagenet32", 168_955_724)])
def test_as_many_parameters_as_the_authors_code_states(dataset, theirs):
    """At scale `paper`, to the last one: less what is ours alone, and with what is theirs alone."""
    options = options_of("paper", dataset, "flowpp")
    with torch.device("meta" if options["mixing"] == "none" else "cpu"):  # no LU decomposition on meta
        model = FlowPP((3, 32, 32), 256, **options)
    ours = sum(parameter.numel() for parameter in model.parameters())
    for module in model.modules():
        if isinstance(module, GatedAttention):
            ours += 3 * module.project.direction.shape[1]  # a bias
        elif isinstance(module, MixLogCDFCoupling):
            ours -= module.rescale.numel()
        elif isinstance(module, InvertibleConv1x1):  # a plain matrix
            ours -= module.lower.numel() + module.log_s.numel()
        elif isinstance(module, WeightNorm) and dataset == "cifar10":  # plain layers
            ours -= module.gain.numel()
    assert ours == theirs


def test_the_context_is_seen_at_the_couplings_resolution():
    shape = (2, 4, 8)
    channels = {"full": 64, "halves": 32, "attention": 32}
    for context, expected in channels.items():
        dequantiser = tiny("flowpp", shape, context=context, context_blocks=3).dequantiser
        assert len(dequantiser.context_net.blocks) == 3
        assert dequantiser.context_net(torch.randn(5, *shape).double()).shape == (5, expected, 4, 4)


@pytest.mark.parametrize("name", ["flowpp for cifar10", "flowpp for imagenet32"])
def test_initialisation_per_position(name):
    """One batch whitens what enters the first coupling, at every position; the images' border is constant."""
    torch.manual_seed(0)
    model = build(config(name, (1, 8, 8), 256))
    x = images(model, 64)
    x[..., 0] = 0
    model.initialise(x, noise(model, 64))
    norms = [module for module in model.modules() if isinstance(module, ActNorm)]
    assert all(norm.bias[0].numel() > 1 and norm.initialised for norm in norms)
    with torch.no_grad():
        y, _ = model.dequantise(x, noise(model, 64))
        for layer in model.layers:
            y, _ = layer(y)
            if isinstance(layer, ActNorm):
                break
    variance, mean = torch.var_mean(y, 0, correction=0)
    assert mean.abs().max() < 0.01 and (variance - 1).abs().max() < 0.05


def test_weights_serve_every_image_size():
    small, large = tiny("flowpp", (3, 4, 4)), tiny("flowpp", (3, 8, 8))
    large.load_state_dict(small.state_dict())


@pytest.mark.parametrize("dropout", [0.0, 0.5])
def test_activation_checkpointing_changes_nothing(dropout):
    model = tiny("flowpp", (1, 4, 4), dropout=dropout).train()
    x, eps = images(model, 4), noise(model, 4)

    def gradients(recompute: bool) -> list[torch.Tensor]:
        model.activation_checkpointing = recompute
        model.zero_grad()
        torch.manual_seed(3)
        loss = model.training_loss(x, eps).mean()
        loss.backward()
        return [loss.detach(), *(p.grad.clone() for p in model.parameters())]

    for plain, recomputed in zip(gradients(False), gradients(True), strict=True):
        torch.testing.assert_close(recomputed, plain)


def test_dropout_only_in_training():
    model = tiny("flowpp", dropout=0.5)
    x, eps = images(model, 2), noise(model, 2)
    with torch.no_grad():
        assert torch.equal(model.log_prob(x, eps), model.log_prob(x, eps))
        model.train()
        assert not torch.equal(model.log_prob(x, eps), model.log_prob(x, eps))
