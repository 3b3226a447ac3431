"""TarFlow: a Transformer autoregressive flow over patches (Zhai et al., arXiv 2412.06329)."""

import math

import torch
from torch import Tensor

from marscf.errors import ConfigError
from marscf.flows.autoregressive import CausalAffine, Guidance
from marscf.flows.chain import Chain
from marscf.flows.squeeze import Squeeze
from marscf.models.base import Shape, check_levels
from marscf.models.dequantiser import learned
from marscf.models.one_latent import OneLatentFlow
from marscf.nets.causal_transformer import CausalTransformer
from marscf.options import Dequantiser, Margin, NonNegativeFloat, PositiveFloat, PositiveInt

LEAST = 1e-6  # how near the uniform noise comes to its ends: 4.9 standard deviations of the normal one


class TarFlow(OneLatentFlow):
    """Patches, then blocks of causal attention that run forwards and backwards in turn; Gaussian prior.

    A patch of `patch` × `patch` pixels is a position. Learned positions tie the weights to one image size.
    Sampling takes one sequential step per position and block, with what attention has seen kept.

    The paper trains on Gaussian noise where samples are what counts (section 2.4), and on uniform noise where
    the likelihood is (section 3). A likelihood here is always that of uniform or learned dequantisation.
    Guidance and denoising change samples alone. The model's attributes `guidance`, `guidance_temperature` and
    `denoise` may be set anew before `sample`.

    Args:
        shape: (C, H, W) of the images.
        grey_levels: number of values of a sub-pixel.
        patch: side of a patch, a power of 2.
        blocks: autoregressive maps.
        layers: Transformer layers in each.
        channels: of the layers.
        heads: of the attention; they must divide `channels`.
        gaussian_noise: standard deviation of the noise in training, pixels in [0,1]; 0 for that of the
            likelihood.
        denoise: whether a sample y becomes `y + σ² ∇ log p(y)`, σ the noise in training (section 2.5).
        guidance: how far each step of sampling moves away from what blurred attention predicts; it grows
            linearly along the positions up to this (section 2.6).
        guidance_temperature: what the blurred attention's logits are divided by.
        logit_margin, dequantiser: see `FlowModel`.

    Raises:
        ConfigError: a patch that is no power of 2 or does not divide the sides, heads that do not divide
            `channels`, Gaussian noise beside a logit or a learned dequantisation, denoising without noise.
    """

    def __init__(
        self,
        shape: Shape,
        grey_levels: int,
        *,
        patch: PositiveInt = 2,
        blocks: PositiveInt = 8,
        layers: PositiveInt = 8,
        channels: PositiveInt = 768,
        heads: PositiveInt = 12,
        gaussian_noise: NonNegativeFloat = 0.0,
        denoise: bool = False,
        guidance: NonNegativeFloat = 0.0,
        guidance_temperature: PositiveFloat = 1.5,
        logit_margin: Margin = None,
        dequantiser: Dequantiser = None,
    ):
        super().__init__(shape, grey_levels, logit_margin, learned(shape, dequantiser))
        self.gaussian_noise, self.denoise = gaussian_noise, denoise
        self.guidance, self.guidance_temperature = guidance, guidance_temperature
        if gaussian_noise and (logit_margin is not None or dequantiser is not None):
            raise ConfigError(
                "options.gaussian_noise: it leaves [0,1], where no logit and no dequantiser can follow; "
                "set logit_margin and dequantiser to null"
            )
        if denoise and not gaussian_noise:
            raise ConfigError("options.denoise: there is no noise in training; set gaussian_noise")
        squeezes = patch.bit_length() - 1
        if 2**squeezes != patch:
            raise ConfigError(f"options.patch: {patch} is no power of 2")
        check_levels(self.shape, squeezes)
        colours, height, width = self.shape
        self._latent_shape = (colours * patch**2, height // patch, width // patch)
        features, length = self._latent_shape[0], (height // patch) * (width // patch)

        def block(number: int) -> CausalAffine:
            net = CausalTransformer(
                features, 2 * features, length, channels=channels, layers=layers, heads=heads
            )
            return CausalAffine(net, backwards=number % 2 == 1)

        squeezing = [Squeeze() for _ in range(squeezes)]
        self.layers = Chain(self.pixels, *squeezing, *(block(number) for number in range(blocks)))

    @property
    def latent_shapes(self) -> list[Shape]:
        """See `FlowModel.latent_shapes`: one latent, its positions the patches."""
        return [self._latent_shape]

    @property
    def sampling(self) -> str:
        """See `DensityModel.sampling`."""
        words = []
        if self.guidance:
            words.append(f"guidance {self.guidance:g} at attention temperature {self.guidance_temperature:g}")
        if self.denoise:
            words.append(f"denoised of σ {self.gaussian_noise:g}")
        return ", ".join(words)

    def training_loss(self, x: Tensor, noise: Tensor | None = None) -> Tensor:
        """See `DensityModel.training_loss`: of images with Gaussian noise, where the option asks for it."""
        if not self.gaussian_noise:
            return super().training_loss(x, noise)
        uniform = self.draw_noise(len(x)) if noise is None else noise
        # From the uniform noise, of which the trainer has drawn each image's own.
        gaussian = math.sqrt(2) * torch.erfinv((2 * uniform - 1).clamp(-1 + LEAST, 1 - LEAST))
        y = self.to_continuous(x) + self.gaussian_noise * gaussian
        return self.dims * math.log(self.grey_levels) - self.log_density(y)

    def decode_noise(self, eps: list[Tensor]) -> Tensor:
        """See `FlowModel.decode_noise`: guided and denoised, where the options ask for it."""
        (z,) = self.latents_from(eps)
        guidance = Guidance(self.guidance, self.guidance_temperature) if self.guidance else None
        y = self.layers.inverse(z, guidance)
        if not self.denoise:
            return y
        with torch.enable_grad():
            noisy = y.detach().requires_grad_()
            (score,) = torch.autograd.grad(self.log_density(noisy).sum(), noisy)
        return y + self.gaussian_noise**2 * score

    def latents_from(self, eps: list[Tensor]) -> list[Tensor]:
        """See `FlowModel.latents_from`; the steps are in the inverse."""
        return eps
