"""Residual Flow (Chen et al., arXiv 1906.02735): residual blocks with an unbiased log-determinant."""

import math

import torch
from torch import Tensor, nn
from torch.utils.checkpoint import checkpoint

from marscf.errors import ConfigError
from marscf.flows.actnorm import ActNorm
from marscf.flows.bijection import Bijection
from marscf.flows.log_det import Roulette, WholeJacobian
from marscf.flows.residual import ResidualBlock
from marscf.flows.squeeze import Squeeze
from marscf.models.base import Shape, check_levels
from marscf.models.one_latent import OneLatentFlow
from marscf.nets import counter_random
from marscf.nets.lipschitz import FullyConnectedNet, LipschitzConv2d, LipschitzNet
from marscf.options import Margin, NonNegativeInt, PositiveInt, Probability

TRAINING_EXACT_TERMS = 2
STOP = 0.5  # chance of ending the series after each further term
NORM_ITERATIONS = 3  # power iterations a training step
FIRST_NORM_ITERATIONS = 30
LEAST_VARIANCE = 0.2  # of a position, over the first batch; as in the authors' code


class ResidualFlow(OneLatentFlow):
    """Logit transform, then at each resolution (ActNorm, residual block) × `blocks`, with squeezes between.

    A closing ActNorm follows, then (fully connected residual block, ActNorm per position) × `fc_blocks`. As
    in the paper's models of 32×32 images nothing is factored out: there is one latent. Without fully
    connected blocks weights serve every image size.

    The log-determinant's randomness never depends on how a batch is shared out. In training mode probes come
    from a hash of the dequantised image, and one series length a block from `begin_step`. In eval mode both
    come from a hash of the discrete image, so that an image's number is the same in every batch and its
    estimation error is common to all its dequantisation draws (which keeps the importance-weighted bound
    honest).

    Args:
        shape: (C, H, W) of the images.
        grey_levels: values a sub-pixel can take.
        levels: squeezes; there are `levels + 1` resolutions.
        blocks: residual blocks at each resolution.
        channels: hidden channels of a block's network.
        fc_blocks: fully connected residual blocks at the end.
        fc_channels: hidden units of their networks.
        lipschitz: bound on each layer's operator norm, in (0,1).
        logit_margin: see `FlowModel`.
        exact_terms: terms of the series that evaluation always sums, before the roulette.
        probes: random vectors that evaluation averages over, an image.
        exact_dims: up to so many sub-pixels evaluation takes the exact log-determinant from whole Jacobians.
    """

    sampling_depends_on_weights = "fixed-point inversion is slower the nearer Lipschitz constants are to 1"
    #: Estimate each block's log-determinant again in the backward pass, as its network's activations always
    #: are; set by the trainer.
    activation_checkpointing: bool = False

    def __init__(
        self,
        shape: Shape,
        grey_levels: int,
        *,
        levels: NonNegativeInt = 2,
        blocks: PositiveInt = 16,
        channels: PositiveInt = 512,
        fc_blocks: NonNegativeInt = 0,
        fc_channels: PositiveInt = 128,
        lipschitz: Probability = 0.98,
        logit_margin: Margin = 0.05,
        exact_terms: PositiveInt = 20,
        probes: PositiveInt = 1,
        exact_dims: NonNegativeInt = 64,
    ):
        super().__init__(shape, grey_levels, logit_margin)
        check_levels(shape, levels)
        if not 0 < lipschitz < 1:
            raise ConfigError(
                f"options.lipschitz: {lipschitz} is not in (0,1), so blocks need not be invertible"
            )
        self.exact_terms, self.probes, self.exact_dims = exact_terms, probes, exact_dims
        self.estimate = 0 if self.dims > exact_dims else None
        features, height, width = self.shape
        layers: list[Bijection] = [self.pixels]
        for level in range(levels + 1):
            if level:
                layers.append(Squeeze())
                features, height, width = 4 * features, height // 2, width // 2
            for block in range(blocks):
                net = LipschitzNet(features, channels, (height, width), lipschitz, bool(level or block))
                layers += [ActNorm(features), ResidualBlock(net)]
        layers.append(ActNorm(features))
        self._latent_shape = (features, height, width)
        for _ in range(fc_blocks):
            net = FullyConnectedNet(self._latent_shape, fc_channels, lipschitz)
            layers += [ResidualBlock(net), ActNorm(features, (height, width), LEAST_VARIANCE)]
        self.layers = nn.ModuleList(layers)
        self._tails: Tensor | None = None  # of this training step's series, a layer

    @property
    def likelihood(self) -> str:
        """See `DensityModel.likelihood`; says how the log-determinant is evaluated."""
        how = f"{self.exact_terms} exact terms and Russian roulette, {self.probes} probe(s) an image"
        if self.dims <= self.exact_dims:
            how = "whole Jacobians"
        return f"{super().likelihood}, log-determinant by {how}"

    @property
    def latent_shapes(self) -> list[Shape]:
        """See `FlowModel.latent_shapes`: one latent."""
        return [self._latent_shape]

    # ---- training

    def follow_norms(self, iterations: int) -> None:
        """Let the power iterations follow the weights."""
        for module in self.modules():
            if isinstance(module, LipschitzConv2d):
                module.follow(iterations)

    def begin_step(self) -> None:
        """See `DensityModel.begin_step`: updates the operator norms and draws how long the series are."""
        self.follow_norms(NORM_ITERATIONS)
        self._tails = self._draw_tails()

    def initialise(self, x: Tensor, noise: Tensor | None = None) -> None:
        """See `DensityModel.initialise`."""
        self.follow_norms(FIRST_NORM_ITERATIONS)
        super().initialise(x, noise)

    def _draw_tails(self) -> Tensor:
        return torch.empty(len(self.layers)).geometric_(STOP).to(torch.int64)

    # ---- the flow

    def _strategy(
        self, x: Tensor, keys: Tensor, index: int, tails: Tensor | None
    ) -> Roulette | WholeJacobian:
        """How to find block `index`'s log-determinant at `x`, with `keys (B,)` of the images.

        In training mode `tails` are the series lengths, one a layer.
        """
        if tails is None and self.dims <= self.exact_dims:
            return WholeJacobian()
        probes = 1 if tails is not None else self.probes
        place = index + len(self.layers) * (self.estimate or 0)
        streams = range(place * probes, (place + 1) * probes)
        drawn = torch.stack([counter_random.bits(keys, stream, self.dims + 1) for stream in streams])
        signs = (drawn[..., 1:] & 1).to(x.dtype).view(len(streams), *x.shape)
        if tails is not None:
            return Roulette(2 * signs - 1, tails[index].view(1, 1).to(x.device), TRAINING_EXACT_TERMS, STOP)
        uniform = (drawn[..., 0].double() + 0.5) / 2**32
        lengths = 1 + torch.floor(uniform.log() / math.log(1 - STOP)).long()
        return Roulette(2 * signs - 1, lengths, self.exact_terms, STOP)

    def encode_continuous(self, y: Tensor) -> tuple[list[Tensor], Tensor]:
        """See `FlowModel.encode_continuous`; `log_det` is an unbiased estimate (or exact: `exact_dims`)."""
        if self.training:
            keys = counter_random.keys_of(y.float().view(torch.int32))
            tails = self._draw_tails() if self._tails is None else self._tails
        else:
            keys, tails = counter_random.keys_of(self.to_discrete(y)), None
        z, log_det = y, y.new_zeros(len(y))
        recompute = self.activation_checkpointing and self.training and torch.is_grad_enabled()

        def block(layer: ResidualBlock, z: Tensor, index: int) -> tuple[Tensor, Tensor]:
            return layer(z, self._strategy(z, keys, index, tails))

        for index, layer in enumerate(self.layers):
            if not isinstance(layer, ResidualBlock):
                z, change = layer(z)
            elif recompute:
                z, change = checkpoint(block, layer, z, index, use_reentrant=False)
            else:
                z, change = block(layer, z, index)
            log_det = log_det + change
        return [z], log_det

    def encode(self, x: Tensor, noise: Tensor | None = None) -> list[Tensor]:
        """See `FlowModel.encode`; no log-determinant is estimated."""
        z = self.to_continuous(x, noise)
        for layer in self.layers:
            z = layer.transform(z) if isinstance(layer, ResidualBlock) else layer(z)[0]
        return [z]

    def decode(self, latents: list[Tensor]) -> Tensor:
        """See `FlowModel.decode`; raises `EvaluationError` where a fixed point is not found."""
        (z,) = latents
        for layer in reversed(self.layers):
            z = layer.inverse(z)
        return z
