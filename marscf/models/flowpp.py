"""Flow++ (Ho et al., arXiv 1902.00275): variational dequantisation, mixture couplings with attention."""

from collections.abc import Iterator
from typing import ClassVar, Literal

from marscf.errors import ConfigError
from marscf.flows.bijection import Bijection
from marscf.flows.chain import Chain
from marscf.flows.checkerboard import Checkerboard, UndoCheckerboard
from marscf.flows.halves import SwapHalves
from marscf.flows.squeeze import Squeeze
from marscf.models.base import Shape
from marscf.models.dequantiser import VariationalDequantiser
from marscf.models.flowpp_steps import Steps
from marscf.models.one_latent import OneLatentFlow
from marscf.options import Margin, NonNegativeInt, PositiveInt, Probability


class FlowPP(OneLatentFlow):
    """Logit, checkerboard couplings, squeeze, channel-wise couplings, checkerboard couplings; Gaussian prior.

    Before each coupling stand an ActNorm and, on each half by itself, an invertible 1×1 convolution; after it
    the halves change places. The dequantisation noise is learned (see `FlowModel`), by a flow of checkerboard
    couplings whose steps are those of the flow itself.

    The options from `split` on are those in which the authors' public code differs from this; the first value
    of each is the default. ActNorm per position and learned positions tie weights to one image size.

    Args:
        shape: (C, H, W) of the images.
        grey_levels: number of values of a sub-pixel.
        checkerboard: checkerboard couplings at full resolution.
        channelwise: channel-wise couplings after the squeeze.
        checkerboard_after: checkerboard couplings at the end.
        channels: hidden channels of the couplings' networks.
        blocks: gated convolution + attention blocks in each.
        components: logistics in each mixture.
        heads: of the attention; they must divide `channels`.
        dropout: in the networks, while training.
        dequantiser_couplings: checkerboard couplings of q.
        dequantiser_blocks: blocks in the networks of q, and in the one that looks at the image for it.
        logit_margin: see `FlowModel`.
        split: the halves are a "checkerboard" and, after the squeeze, one half of the channels in the order
            of colours; or "stripes": even and odd columns, and after the squeeze even and odd rows.
        actnorm: a shift and scale per "channel" or per "position".
        mixing: 1×1 convolutions that start at a random "rotation" or near the "identity", or "none" at all.
        positions: the attention's code of a pixel's place, "sinusoidal" or "learned", one per network.
        dropped: dropout drops "channels" and attention weights, or single "values" of their outputs.
        exit_elu: whether the networks have a concat-ELU before their last convolution.
        context: the network of q that looks at the image: gated convolutions with 1×1 gates at "full"
            resolution; with 3×3 gates on its two "halves" as channels; or there with "attention" after each.
        context_blocks: blocks in it; None for as many as `dequantiser_blocks`.

    Raises:
        ConfigError: sides that the squeeze and the checkerboards do not divide, or heads that do not divide
            `channels`.
    """

    sampling_depends_on_weights = "Newton's method inverts the mixtures, in more steps where they are wide"
    replayable = True
    renamed: ClassVar = {
        r"dequantiser\.(entry|positions)": r"dequantiser.context_net.\1",
        r"dequantiser\.look\.": "dequantiser.context_net.blocks.",
        r"dequantiser\.(norm|coupling)s\.(\d+)\.": r"dequantiser.steps.\2.\1.",
        r"dequantiser\.mixes\.(\d+)\.": r"dequantiser.steps.\1.mix.",
    }

    def __init__(
        self,
        shape: Shape,
        grey_levels: int,
        *,
        checkerboard: NonNegativeInt = 4,
        channelwise: NonNegativeInt = 2,
        checkerboard_after: NonNegativeInt = 3,
        channels: PositiveInt = 96,
        blocks: PositiveInt = 10,
        components: PositiveInt = 32,
        heads: PositiveInt = 4,
        dropout: Probability = 0.2,
        dequantiser_couplings: PositiveInt = 4,
        dequantiser_blocks: PositiveInt = 2,
        logit_margin: Margin = 0.05,
        split: Literal["checkerboard", "stripes"] = "checkerboard",
        actnorm: Literal["channel", "position"] = "channel",
        mixing: Literal["rotation", "identity", "none"] = "rotation",
        positions: Literal["sinusoidal", "learned"] = "sinusoidal",
        dropped: Literal["channels", "values"] = "channels",
        exit_elu: bool = False,
        context: Literal["full", "halves", "attention"] = "full",
        context_blocks: PositiveInt | None = None,
    ):
        super().__init__(shape, grey_levels, logit_margin)
        features, height, width = self.shape
        factor = 4 if checkerboard_after else 2
        if height % 2 or width % factor:
            raise ConfigError(
                f"Flow++ needs an even height and a width divisible by {factor}, images are {height}×{width}"
                + ("; set options.checkerboard_after to 0" if not (height % 2 or width % 2) else "")
            )
        net = {"heads": heads, "dropout": dropout, "dropped": dropped, "exit_elu": exit_elu}
        steps = Steps(channels, components, actnorm, mixing, positions, net)
        stripes = split == "stripes"
        self.dequantiser = VariationalDequantiser(
            self.shape,
            steps,
            stripes=stripes,
            couplings=dequantiser_couplings,
            blocks=dequantiser_blocks,
            context=context,
            context_blocks=context_blocks or dequantiser_blocks,
        )

        def couplings(number: int, pair_channels: int, size: tuple[int, int]) -> Iterator[Bijection]:
            for _ in range(number):
                coupling = steps.coupling(pair_channels, size, blocks=blocks)
                norm, mix = steps.norm(pair_channels, size), steps.mix(pair_channels)
                yield from (norm, *mix.values(), coupling, SwapHalves())

        def on_squares(number: int, image_channels: int, size: tuple[int, int]) -> Iterator[Bijection]:
            if number:
                yield Checkerboard(stripes)
                yield from couplings(number, 2 * image_channels, (size[0], size[1] // 2))
                yield UndoCheckerboard(stripes)

        squeezed = (height // 2, width // 2)
        self.layers = Chain(
            self.pixels,
            *on_squares(checkerboard, features, (height, width)),
            Squeeze(by_pixel=stripes),
            *couplings(channelwise, 4 * features, squeezed),
            *on_squares(checkerboard_after, 4 * features, squeezed),
        )

    @property
    def latent_shapes(self) -> list[Shape]:
        """See `FlowModel.latent_shapes`: one latent, at half the side."""
        channels, height, width = self.shape
        return [(4 * channels, height // 2, width // 2)]
