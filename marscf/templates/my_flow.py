"""MyFlow: a normalizing flow with a coupling and a prior of its own. Change what you like; it runs as it is.

Run it:  snakemake --cores all --config systems=my-flow,glow
Test it: python -m pytest tests/models/test_my_flow.py
"""

import torch
from torch import Tensor, nn

from marscf.counting import tick
from marscf.flows.bijection import Bijection
from marscf.flows.chain import Chain
from marscf.flows.coupling import Coupling
from marscf.flows.squeeze import Squeeze
from marscf.flows.step import FlowStep
from marscf.models.base import FlowModel, Shape, check_levels
from marscf.models.dequantiser import learned
from marscf.nets.affine_net import AffineNet
from marscf.options import Dequantiser, Margin, PositiveInt
from marscf.priors.prior import Prior


class MyCoupling(Coupling):
    """`y = x exp(tanh s) + t` for half of the channels; the network sees the others and gives s and t.

    The base class splits and joins the halves. An invertible map of each element is all that is asked for.
    """

    def elementwise(self, x: Tensor, params: Tensor) -> tuple[Tensor, Tensor]:
        """Return y and `log |dy/dx|` of each element."""
        shift, log_scale = params[:, 0::2], torch.tanh(params[:, 1::2])
        return x * torch.exp(log_scale) + shift, log_scale

    def elementwise_inverse(self, y: Tensor, params: Tensor) -> Tensor:
        """Return x."""
        shift, log_scale = params[:, 0::2], torch.tanh(params[:, 1::2])
        return (y - shift) * torch.exp(-log_scale)


class MyPrior(Prior):
    """A logistic distribution for each channel, with a mean and a scale that are learned."""

    def __init__(self, channels: int):
        super().__init__()
        self.mean = nn.Parameter(torch.zeros(channels, 1, 1))
        self.log_scale = nn.Parameter(torch.zeros(channels, 1, 1))

    def log_prob(self, z: Tensor, context: Tensor | None = None) -> Tensor:
        """Return `log p(z)` of each image, in nats."""
        x = (z - self.mean) * torch.exp(-self.log_scale)
        each = nn.functional.logsigmoid(x) + nn.functional.logsigmoid(-x) - self.log_scale
        return each.flatten(1).sum(1)

    def sample(self, context: Tensor | None, noise: Tensor) -> Tensor:
        """Map standard-normal noise to a sample: by the normal CDF, then by the inverse logistic one."""
        tick()  # one step of sampling, for the figures of sampling speed
        log_odds = torch.special.log_ndtr(noise) - torch.special.log_ndtr(-noise)
        return self.mean + torch.exp(self.log_scale) * log_odds


class MyFlow(FlowModel):
    """Squeeze, then `steps` flow steps, at each level; one latent at the end.

    The options are the keyword-only arguments; config/systems/my-flow.yaml sets them.
    """

    can_recompute = True  # training.activation_checkpointing has an effect

    def __init__(
        self,
        shape: Shape,
        grey_levels: int,
        *,
        levels: PositiveInt = 2,
        steps: PositiveInt = 4,
        channels: PositiveInt = 32,
        logit_margin: Margin = None,
        dequantiser: Dequantiser = None,
    ):
        super().__init__(shape, grey_levels, logit_margin, learned(shape, dequantiser))
        check_levels(self.shape, levels)
        features, height, width = self.shape
        layers: list[Bijection] = [self.pixels]  # the logit, where the dataset has one
        for _ in range(levels):
            features, height, width = 4 * features, height // 2, width // 2
            layers.append(Squeeze())
            for _ in range(steps):
                layers.append(FlowStep(features, MyCoupling(AffineNet(features // 2, channels, features))))
        self.layers = Chain(*layers)
        self.prior = MyPrior(features)
        self._latent: Shape = (features, height, width)

    @property
    def latent_shapes(self) -> list[Shape]:
        """The shapes of the latents: here there is one."""
        return [self._latent]

    def encode_continuous(self, y: Tensor) -> tuple[list[Tensor], Tensor]:
        """Map images in [0,1) to latents; with the logarithm of the determinant of the Jacobian."""
        z, log_det = self.layers(y, recompute=self.activation_checkpointing)
        return [z], log_det

    def decode(self, latents: list[Tensor]) -> Tensor:
        """Map latents back to images."""
        return self.layers.inverse(latents[0])

    def latents_from(self, eps: list[Tensor]) -> list[Tensor]:
        """Map standard-normal noise to latents."""
        return [self.prior.sample(None, eps[0])]

    def latent_log_prob(self, latents: list[Tensor]) -> Tensor:
        """Return `log p(z)` of each image, in nats."""
        return self.prior.log_prob(latents[0])
