"""TarFlow: a Transformer autoregressive flow over patches (Zhai et al., arXiv 2412.06329)."""

from torch import Tensor

from marscf.errors import ConfigError
from marscf.flows.autoregressive import CausalAffine
from marscf.flows.chain import Chain
from marscf.flows.squeeze import Squeeze
from marscf.models.base import Shape, check_levels
from marscf.models.dequantiser import learned
from marscf.models.one_latent import OneLatentFlow
from marscf.nets.causal_transformer import CausalTransformer
from marscf.options import Dequantiser, Margin, PositiveInt


class TarFlow(OneLatentFlow):
    """Patches, then blocks of causal attention that run forwards and backwards in turn; Gaussian prior.

    A patch of `patch` × `patch` pixels is a position. Learned positions tie the weights to one image size.
    Sampling takes one sequential step per position and block, with what attention has seen kept. The paper
    trains on Gaussian noise, for better samples; here the noise is that of a likelihood: uniform, or learned.

    Args:
        shape: (C, H, W) of the images.
        grey_levels: number of values of a sub-pixel.
        patch: side of a patch, a power of 2.
        blocks: autoregressive maps.
        layers: Transformer layers in each.
        channels: of the layers.
        heads: of the attention; they must divide `channels`.
        logit_margin, dequantiser: see `FlowModel`.

    Raises:
        ConfigError: a patch that is no power of 2 or does not divide the sides, or heads that do not divide
            `channels`.
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
        logit_margin: Margin = None,
        dequantiser: Dequantiser = None,
    ):
        super().__init__(shape, grey_levels, logit_margin, learned(shape, dequantiser))
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

    def latents_from(self, eps: list[Tensor]) -> list[Tensor]:
        """See `FlowModel.latents_from`; the steps are in the inverse."""
        return eps
