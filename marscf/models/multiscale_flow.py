"""The multi-scale flow: Glow and both mAR-SCF, by the choice of coupling and prior."""

from typing import Literal

import torch
from torch import Tensor, nn
from torch.nn import functional
from torch.utils.checkpoint import checkpoint

from marscf.errors import ConfigError
from marscf.flows.actnorm import ActNorm
from marscf.flows.bijection import Bijection
from marscf.flows.conv1x1 import InvertibleConv1x1
from marscf.flows.coupling import AffineCoupling, MixLogCDFCoupling
from marscf.flows.squeeze import Squeeze
from marscf.kernels.compiled import fused
from marscf.kernels.graphs import side_by_side
from marscf.kernels.precision import exact
from marscf.models.base import FlowModel, Shape, check_images, check_levels
from marscf.options import Margin, PositiveInt, Probability
from marscf.priors.gaussian import GaussianPrior
from marscf.priors.mar import MARPrior


class FlowStep(Bijection):
    """ActNorm, invertible 1×1 convolution, coupling; the first two are one convolution once initialised.

    With `swap`, the coupling's two halves then change places, so that the next coupling moves the other one.
    """

    def __init__(self, channels: int, coupling: Bijection, swap: bool):
        super().__init__()
        self.actnorm = ActNorm(channels)
        self.conv1x1 = InvertibleConv1x1(channels)
        self.coupling = coupling
        self.swap = swap

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """See `Bijection.forward`."""
        if self.actnorm.waiting:
            self.actnorm.initialise(x)
        x, log_det = self._mix(x)
        z, coupling_log_det = self.coupling(x)
        if self.swap:
            z = z.roll(z.shape[1] // 2, 1)
        return z, log_det + coupling_log_det

    @fused
    def _mix(self, x: Tensor) -> tuple[Tensor, Tensor]:
        with exact(x):
            weight = self.conv1x1.weight() * torch.exp(self.actnorm.log_scale).flatten()
            x = functional.conv2d(x, weight[:, :, None, None], weight @ self.actnorm.bias.flatten())
            log_det = (self.actnorm.log_scale.sum() + self.conv1x1.log_s.sum()) * (x.shape[2] * x.shape[3])
            return x, log_det

    def inverse(self, z: Tensor) -> Tensor:
        """See `Bijection.inverse`."""
        if self.swap:
            z = z.roll(-(z.shape[1] // 2), 1)
        x = self.coupling.inverse(z)
        with exact(x):
            scale = torch.exp(-self.actnorm.log_scale)
            weight = self.conv1x1.inverse_weight() * scale.flatten()[:, None]
            return functional.conv2d(x, weight[:, :, None, None], -self.actnorm.bias.flatten())


class MultiScaleFlow(FlowModel):
    """Glow (affine, Gaussian), mAR-SCF (affine or MixLogCDF, mAR): arXiv 1807.03039 and 2004.03891.

    A level squeezes, takes `steps` flow steps and, but for the last, splits: the first half of the channels
    goes on and is the context of the prior of the second half. The latents are the dropped halves of levels
    1, 2, … and then what the last level leaves.

    Options:
        coupling: elementwise map of the coupling layers.
        prior: `gaussian` of all channels at once (Glow), or `mar`, channel after channel.
        levels, steps: of the flow (L, K).
        channels: hidden channels of a coupling's network (C).
        components, blocks, heads, dropout: of a MixLogCDF coupling; not used by an affine one.
        lstm_channels, lstm_layers: of a mAR prior; not used by a Gaussian one.
        pixel_scaling: `official` for the authors' `x/255 - 1/2 + u/256` in place of `(x+u)/256 - 1/2`.
        logit_margin: see `FlowModel`; the authors take no logit.

    Raises `ConfigError` where the levels do not divide the image's sides.
    """

    replayable = True
    #: Recompute each flow step's activations in the backward pass; set by the trainer.
    activation_checkpointing: bool = False

    def __init__(
        self,
        shape: Shape,
        grey_levels: int,
        *,
        coupling: Literal["affine", "mixlogcdf"] = "affine",
        prior: Literal["gaussian", "mar"] = "mar",
        levels: PositiveInt = 3,
        steps: PositiveInt = 32,
        channels: PositiveInt = 512,
        components: PositiveInt = 32,
        blocks: PositiveInt = 10,
        heads: PositiveInt = 4,
        dropout: Probability = 0.2,
        lstm_channels: PositiveInt = 32,
        lstm_layers: PositiveInt = 3,
        pixel_scaling: Literal["even", "official"] = "even",
        logit_margin: Margin = None,
    ):
        super().__init__(shape, grey_levels, logit_margin)
        check_levels(self.shape, levels)
        for name, value, known in (
            ("coupling", coupling, ("affine", "mixlogcdf")),
            ("prior", prior, ("gaussian", "mar")),
            ("pixel_scaling", pixel_scaling, ("even", "official")),
        ):
            if value not in known:
                raise ConfigError(f"{name}: {value!r} is not one of {', '.join(known)}")
        self.pixel_scaling = pixel_scaling
        self.squeeze = Squeeze()
        self.levels = nn.ModuleList()
        self.priors = nn.ModuleList()
        self._latent_shapes: list[Shape] = []

        def make_coupling(width: int) -> Bijection:
            if coupling == "affine":
                return AffineCoupling(width, channels)
            return MixLogCDFCoupling(
                width, channels, components=components, blocks=blocks, heads=heads, dropout=dropout
            )

        width, height, breadth = self.shape
        for level in range(1, levels + 1):
            width, height, breadth = 4 * width, height // 2, breadth // 2
            self.levels.append(
                nn.ModuleList(
                    FlowStep(width, make_coupling(width), swap=coupling == "mixlogcdf") for _ in range(steps)
                )
            )
            context = None if level == levels else width // 2
            width = context or width
            if prior == "gaussian":
                self.priors.append(GaussianPrior(width, context))
            else:
                self.priors.append(
                    MARPrior(
                        context,
                        lstm_channels=lstm_channels,
                        lstm_layers=lstm_layers,
                        level=level,
                        sides=(height, breadth),
                    )
                )
            self._latent_shapes.append((width, height, breadth))

    @property
    def latent_shapes(self) -> list[Shape]:
        """See `FlowModel.latent_shapes`: level 1 first."""
        return list(self._latent_shapes)

    def to_continuous(self, x: Tensor, noise: Tensor | None = None) -> Tensor:
        """See `FlowModel.to_continuous`; with the option `pixel_scaling`."""
        if self.pixel_scaling == "even":
            return super().to_continuous(x, noise)
        check_images(x, self.shape)
        dtype = next(self.parameters()).dtype
        u = 0.5 if noise is None else noise.to(dtype)
        return x.to(dtype) / (self.grey_levels - 1) - 0.5 + u / self.grey_levels

    def to_discrete(self, y: Tensor) -> Tensor:
        """See `FlowModel.to_discrete`; with the option `pixel_scaling`."""
        if self.pixel_scaling == "even":
            return super().to_discrete(y)
        grey = torch.floor((y.float() + 0.5) * (self.grey_levels - 1)).nan_to_num(0.0)
        return grey.clamp(0, self.grey_levels - 1).to(torch.uint8)

    def encode_continuous(self, y: Tensor) -> tuple[list[Tensor], Tensor]:
        """See `FlowModel.encode_continuous`."""
        latents, _, log_det = self._encode(y)
        return latents, log_det

    def log_density(self, y: Tensor) -> Tensor:
        """See `FlowModel.log_density`."""
        latents, contexts, log_det = self._encode(y)
        return log_det + sum(side_by_side([prior.log_prob for prior in self.priors], latents, contexts))

    def _encode(self, y: Tensor) -> tuple[list[Tensor], list[Tensor | None], Tensor]:
        """Latents, their contexts and the flow's log_det."""
        latents: list[Tensor] = []
        contexts: list[Tensor | None] = []
        h, log_det = self.pixels(y)
        recompute = self.activation_checkpointing and self.training and torch.is_grad_enabled()
        for index, level in enumerate(self.levels):
            h, _ = self.squeeze(h)
            for step in level:
                h, change = checkpoint(step, h, use_reentrant=False) if recompute else step(h)
                log_det = log_det + change
            if index < len(self.levels) - 1:
                h, dropped = h.chunk(2, 1)
                latents.append(dropped)
                contexts.append(h)
        return [*latents, h], [*contexts, None], log_det

    def decode(self, latents: list[Tensor]) -> Tensor:
        """See `FlowModel.decode`."""
        return self._decode(lambda index, context: latents[index])[0]

    def latents_from(self, eps: list[Tensor]) -> list[Tensor]:
        """See `FlowModel.latents_from`: the last level first, each by its prior."""
        return self._decode(lambda i, context: self.priors[i].sample(context, eps[i]), image=False)[1]

    def latent_log_prob(self, latents: list[Tensor]) -> Tensor:
        """See `FlowModel.latent_log_prob`."""
        contexts = self._decode(lambda index, context: latents[index], image=False)[2]
        terms = zip(self.priors, latents, contexts, strict=True)
        return sum(prior.log_prob(z, context) for prior, z, context in terms)

    def decode_noise(self, eps: list[Tensor]) -> Tensor:
        """See `FlowModel.decode_noise`; each level is inverted once."""
        return self._decode(lambda index, context: self.priors[index].sample(context, eps[index]))[0]

    def _decode(self, latent, image: bool = True) -> tuple[Tensor | None, list[Tensor], list[Tensor | None]]:
        """From the last level to the first, `latent(index, context)` at each.

        Returns the image (None where not asked for: the first level is then not inverted), the latents and
        their contexts.
        """
        h: Tensor | None = None
        latents, contexts = [], []
        for index in reversed(range(len(self.levels))):
            z = latent(index, h)
            latents.insert(0, z)
            contexts.insert(0, h)
            if index == 0 and not image:
                return None, latents, contexts
            h = z if h is None else torch.cat((h, z), 1)
            for step in reversed(self.levels[index]):
                h = step.inverse(h)
            h = self.squeeze.inverse(h)
        return self.pixels.inverse(h), latents, contexts
