"""The multi-scale flow: Glow and both mAR-SCF, by the choice of coupling and prior."""

from collections.abc import Callable
from typing import ClassVar, Literal

import torch
from torch import Tensor

from marscf.flows.chain import Chain
from marscf.flows.coupling import AffineCoupling, MixLogCDFCoupling
from marscf.flows.squeeze import Squeeze
from marscf.flows.step import FlowStep
from marscf.kernels.graphs import side_by_side
from marscf.models.base import FlowModel, Shape, check_images, check_levels
from marscf.models.dequantiser import learned
from marscf.nets.affine_net import AffineNet
from marscf.nets.gated_attention import GatedAttentionNet
from marscf.nets.modules import Modules
from marscf.options import Dequantiser, Margin, PositiveInt, Probability
from marscf.priors.gaussian import GaussianPrior
from marscf.priors.mar import MARPrior
from marscf.priors.prior import Prior

#: What the prior of each level's latent is given: the half that went on, None at the last level.
Contexts = list[Tensor | None]


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
        pixel_scaling: `official` for the authors' `x/255 + u/256` in place of `(x+u)/256`.
        shift_first: of an affine coupling: shift, then scale, as in Glow's public code.
        logit_margin, dequantiser: see `FlowModel`; the authors take no logit, and uniform noise.

    Raises `ConfigError` where the levels do not divide the image's sides.
    """

    replayable = True
    can_recompute = True
    renamed: ClassVar = {r"priors\.(\d+)\.condition\.": r"priors.\1.context_net."}

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
        shift_first: bool = False,
        logit_margin: Margin = None,
        dequantiser: Dequantiser = None,
    ):
        super().__init__(shape, grey_levels, logit_margin, learned(shape, dequantiser))
        check_levels(self.shape, levels)
        self.pixel_scaling = pixel_scaling
        self.squeeze = Squeeze()
        self.levels = Modules[Chain]()
        self.priors = Modules[Prior]()
        self._latent_shapes: list[Shape] = []

        def make_step(features: int) -> FlowStep:
            half = features // 2
            if coupling == "affine":
                return FlowStep(features, AffineCoupling(AffineNet(half, channels, features), shift_first))
            params = half * MixLogCDFCoupling.params_per_channel(components)
            net = GatedAttentionNet(half, channels, params, blocks=blocks, heads=heads, dropout=dropout)
            return FlowStep(features, MixLogCDFCoupling(net, half, components), swap=True)

        def make_prior(level: int, features: int, context: int | None, sides: tuple[int, int]) -> Prior:
            if prior == "gaussian":
                return GaussianPrior(features, context)
            return MARPrior(
                context, lstm_channels=lstm_channels, lstm_layers=lstm_layers, level=level, sides=sides
            )

        features, height, width = self.shape
        for level in range(1, levels + 1):
            features, height, width = 4 * features, height // 2, width // 2
            self.levels.append(Chain(*(make_step(features) for _ in range(steps))))
            context = None if level == levels else features // 2
            features = context or features
            self.priors.append(make_prior(level, features, context, (height, width)))
            self._latent_shapes.append((features, height, width))

    @property
    def latent_shapes(self) -> list[Shape]:
        """See `FlowModel.latent_shapes`: level 1 first."""
        return list(self._latent_shapes)

    @property
    def last_prior(self) -> Prior:
        """See `FlowModel.last_prior`."""
        return self.priors[-1]

    def to_continuous(self, x: Tensor, noise: Tensor | None = None) -> Tensor:
        """See `FlowModel.to_continuous`; with the option `pixel_scaling`."""
        if self.pixel_scaling == "even":
            return super().to_continuous(x, noise)
        check_images(x, self.shape)
        dtype = next(self.parameters()).dtype
        u = 0.5 if noise is None else noise.to(dtype)
        return x.to(dtype) / (self.grey_levels - 1) + u / self.grey_levels

    def to_discrete(self, y: Tensor) -> Tensor:
        """See `FlowModel.to_discrete`; with the option `pixel_scaling`."""
        if self.pixel_scaling == "even":
            return super().to_discrete(y)
        grey = torch.floor(y.float() * (self.grey_levels - 1)).nan_to_num(0.0)
        return grey.clamp(0, self.grey_levels - 1).to(torch.uint8)

    def encode_continuous(self, y: Tensor) -> tuple[list[Tensor], Tensor]:
        """See `FlowModel.encode_continuous`."""
        latents, _, log_det = self._encode(y)
        return latents, log_det

    def log_density(self, y: Tensor) -> Tensor:
        """See `FlowModel.log_density`."""
        latents, contexts, log_det = self._encode(y)
        return log_det + self._prior_log_prob(latents, contexts)

    def latent_log_prob(self, latents: list[Tensor]) -> Tensor:
        """See `FlowModel.latent_log_prob`."""
        return self._prior_log_prob(*self._from_last(lambda index, context: latents[index]))

    def decode(self, latents: list[Tensor]) -> Tensor:
        """See `FlowModel.decode`."""
        return self._image(*self._from_last(lambda index, context: latents[index]))

    def latents_from(self, eps: list[Tensor]) -> list[Tensor]:
        """See `FlowModel.latents_from`: the last level first, each by its prior."""
        return self._from_last(lambda index, context: self.priors[index].sample(context, eps[index]))[0]

    def decode_noise(self, eps: list[Tensor]) -> Tensor:
        """See `FlowModel.decode_noise`; each level is inverted once."""
        return self._image(
            *self._from_last(lambda index, context: self.priors[index].sample(context, eps[index]))
        )

    def _encode(self, y: Tensor) -> tuple[list[Tensor], Contexts, Tensor]:
        """Latents, their contexts and the flow's log_det, from the first level to the last."""
        latents: list[Tensor] = []
        contexts: Contexts = []
        h, log_det = self.pixels(y)
        for index, level in enumerate(self.levels):
            h, _ = self.squeeze(h)
            h, change = level(h, recompute=self.activation_checkpointing)
            log_det = log_det + change
            if index < len(self.levels) - 1:
                h, dropped = h.chunk(2, 1)
                latents.append(dropped)
                contexts.append(h)
        return [*latents, h], [*contexts, None], log_det

    def _prior_log_prob(self, latents: list[Tensor], contexts: Contexts) -> Tensor:
        terms = side_by_side([prior.log_prob for prior in self.priors], latents, contexts)
        return torch.stack(terms).sum(0)

    def _from_last(self, latent: Callable[[int, Tensor | None], Tensor]) -> tuple[list[Tensor], Contexts]:
        """Latents and their contexts, from the last level to the first, each latent given its context."""
        last = len(self.levels) - 1
        latents: list[Tensor] = [latent(last, None)]
        contexts: Contexts = [None]
        for index in reversed(range(last)):
            contexts.insert(0, self._invert_level(index + 1, latents[0], contexts[0]))
            latents.insert(0, latent(index, contexts[0]))
        return latents, contexts

    def _invert_level(self, index: int, latent: Tensor, context: Tensor | None) -> Tensor:
        """Join a level's latent to its context, then undo the steps and the squeeze."""
        h = latent if context is None else torch.cat((context, latent), 1)
        return self.squeeze.inverse(self.levels[index].inverse(h))

    def _image(self, latents: list[Tensor], contexts: Contexts) -> Tensor:
        return self.pixels.inverse(self._invert_level(0, latents[0], contexts[0]))
