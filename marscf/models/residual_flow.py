"""Residual Flow (Chen et al., arXiv 1906.02735): residual blocks with an unbiased log-determinant."""

import math
from typing import Any

import torch
from torch import Tensor

from marscf.errors import ConfigError
from marscf.flows.actnorm import ActNorm
from marscf.flows.bijection import Bijection
from marscf.flows.chain import Chain
from marscf.flows.log_det import Geometric, Roulette, Strategies, Tail, WholeJacobian
from marscf.flows.residual import ResidualBlock
from marscf.flows.squeeze import Squeeze
from marscf.models.base import Estimate, Shape, check_levels
from marscf.models.dequantiser import learned
from marscf.models.one_latent import OneLatentFlow
from marscf.nets import counter_random
from marscf.nets.lipschitz import FullyConnectedNet, LipschitzConv2d, LipschitzNet
from marscf.options import Dequantiser, Margin, NonNegativeInt, PositiveInt, PositiveInts, Probability

TRAINING_EXACT_TERMS = 2
LAW = Geometric(0.5)  # of the number of further terms
NORM_ITERATIONS = 3  # power iterations per training step
FIRST_NORM_ITERATIONS = 30
LEAST_VARIANCE = 0.2  # of a position, over the first batch; as in the authors' code


class ResidualFlow(OneLatentFlow):
    """Logit transform, then at each resolution (ActNorm, residual block) × `blocks`, with squeezes between.

    A closing ActNorm follows, then (fully connected residual block, ActNorm per position) × `fc_blocks`. As
    in the paper's models of 32×32 images nothing is factored out: there is one latent. Without fully
    connected blocks weights serve every image size.

    The log-determinant's randomness does not depend on how a batch is shared out. In training mode, probes
    come from a hash of the dequantised image, and one series length per block from `begin_step`. In eval mode
    both come from a hash of the discrete image. So an image's number is the same in every batch, and all its
    dequantisation draws have the same estimation error: independent errors would raise the
    importance-weighted bound.

    Args: shape: (C, H, W) of the images. grey_levels: number of values of a sub-pixel. levels: squeezes;
    there are `levels + 1` resolutions. blocks: residual blocks at each resolution; a list where they
    differ. channels: hidden channels of a block's network. fc_blocks: fully connected residual blocks at
    the end. fc_channels: hidden units of their networks. lipschitz: bound on each layer's operator norm,
    in (0,1). logit_margin, dequantiser: see `FlowModel`. exact_terms: terms of the series that evaluation
    always sums, before the roulette. probes: random vectors per image that evaluation averages over.
    exact_dims: up to so many sub-pixels evaluation takes the exact log-determinant from whole Jacobians.
    store_norms: evaluation takes the operator norms that training followed last, as the authors' code
    does, and not converged ones.
    """

    sampling_depends_on_weights = "fixed-point inversion is slower the nearer Lipschitz constants are to 1"

    def __init__(
        self,
        shape: Shape,
        grey_levels: int,
        *,
        levels: NonNegativeInt = 2,
        blocks: PositiveInt | PositiveInts = 16,
        channels: PositiveInt = 512,
        fc_blocks: NonNegativeInt = 0,
        fc_channels: PositiveInt = 128,
        lipschitz: Probability = 0.98,
        logit_margin: Margin = 0.05,
        exact_terms: PositiveInt = 20,
        probes: PositiveInt = 1,
        exact_dims: NonNegativeInt = 64,
        store_norms: bool = False,
        dequantiser: Dequantiser = None,
    ):
        super().__init__(shape, grey_levels, logit_margin, learned(shape, dequantiser))
        check_levels(shape, levels)
        numbers = [blocks] * (levels + 1) if isinstance(blocks, int) else blocks
        if len(numbers) != levels + 1:
            raise ConfigError(
                f"options.blocks: {levels} levels have {levels + 1} resolutions, it names {len(numbers)}"
            )
        self.exact_terms, self.probes, self.exact_dims = exact_terms, probes, exact_dims
        features, height, width = self.shape
        layers: list[Bijection] = [self.pixels]
        for level, number in enumerate(numbers):
            if level:
                layers.append(Squeeze())
                features, height, width = 4 * features, height // 2, width // 2
            for block in range(number):
                first = not (level or block)
                net = LipschitzNet(
                    features, channels, (height, width), lipschitz, not first, store_norms=store_norms
                )
                layers.append(ActNorm(features))
                layers.append(ResidualBlock(net, place=len(layers)))
        layers.append(ActNorm(features))
        self._latent_shape = (features, height, width)
        for _ in range(fc_blocks):
            net = FullyConnectedNet(self._latent_shape, fc_channels, lipschitz, store_norms)
            layers.append(ResidualBlock(net, place=len(layers)))
            layers.append(ActNorm(features, (height, width), LEAST_VARIANCE))
        self.layers = Chain(*layers)
        self._tails: Tensor | None = None  # of this training step's series, one per layer
        #: Of evaluation: the law of the series' lengths, and whether its probes are normal; if not, signs.
        self.law: Tail = LAW
        self.normal_probes = False

    @property
    def likelihood(self) -> str:
        """See `DensityModel.likelihood`; says how the log-determinant is evaluated."""
        exact = self.estimate is None
        how = "whole Jacobians" if exact else f"{self.exact_terms} exact terms and Russian roulette"
        return f"{super().likelihood}, log-determinant by {how}"

    @property
    def estimate(self) -> Estimate | None:
        """See `DensityModel.estimate`."""
        return None if self.dims <= self.exact_dims else Estimate(self.probes)

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
        return torch.empty(len(self.layers)).geometric_(LAW.stop).to(torch.int64)

    # ---- the flow

    def strategies(self, y: Tensor, estimate: Estimate | None = None) -> Strategies:
        """Return how the blocks find their log-determinants for images `y (B,C,H,W)`."""
        if self.training:
            keys = counter_random.keys_of(y.float().view(torch.int32))
            tails = self._draw_tails() if self._tails is None else self._tails
            return lambda x, place: self._in_training(x, place, keys, tails)
        if self.estimate is None:
            return lambda x, place: WholeJacobian()
        keys, chosen = counter_random.keys_of(self.to_discrete(y)), estimate or self.estimate
        return lambda x, place: self._in_evaluation(x, place, keys, chosen)

    def _in_training(self, x: Tensor, place: int, keys: Tensor, tails: Tensor) -> Roulette:
        """One probe per image, drawn by `keys (B,)`; `tails` are the series' lengths, one per layer."""
        signs, _ = self._draw(x, keys, range(place, place + 1))
        return Roulette(signs, tails[place].view(1, 1).to(x.device), TRAINING_EXACT_TERMS, LAW)

    def _in_evaluation(self, x: Tensor, place: int, keys: Tensor, estimate: Estimate) -> Roulette:
        """As many probes per image as the estimate has; `keys (B,)` draw the series' lengths too."""
        stream = (place + len(self.layers) * estimate.index) * estimate.probes
        probes, uniform = self._draw(
            x, keys, range(stream, stream + estimate.probes), normal=self.normal_probes
        )
        return Roulette(probes, self.law.lengths(uniform), self.exact_terms, self.law)

    def _draw(self, x: Tensor, keys: Tensor, streams: range, normal: bool = False) -> tuple[Tensor, Tensor]:
        """Random signs or normal numbers `(M,B,C,H,W)`, and numbers in (0,1) `(M,B)`, of M streams."""
        drawn = torch.stack([counter_random.bits(keys, stream, self.dims + 1) for stream in streams])
        bits, uniform = drawn[..., 1:], (drawn[..., 0].double() + 0.5) / 2**32
        if normal:
            probes = torch.special.ndtri((bits.double() + 0.5) / 2**32).to(x.dtype)
        else:
            probes = 2 * (bits & 1).to(x.dtype) - 1
        return probes.view(len(streams), *x.shape), uniform

    def encode_continuous(self, y: Tensor, context: Any = None) -> tuple[list[Tensor], Tensor]:
        """See `FlowModel.encode_continuous`; `log_det` is an unbiased estimate (or exact: `exact_dims`)."""
        return super().encode_continuous(y, context or self.strategies(y))

    def log_prob(self, x: Tensor, noise: Tensor | None = None, estimate: Estimate | None = None) -> Tensor:
        """See `DensityModel.log_prob`."""
        y, log_q = self.dequantise(x, noise)
        latents, log_det = self.encode_continuous(y, self.strategies(y, estimate))
        return self.latent_log_prob(latents) + log_det - self.dims * math.log(self.grey_levels) - log_q

    def encode(self, x: Tensor, noise: Tensor | None = None) -> list[Tensor]:
        """See `FlowModel.encode`; no log-determinant is estimated."""
        y = self.to_continuous(x) if noise is None else self.dequantise(x, noise)[0]
        return self.encode_continuous(y, lambda x, place: None)[0]
