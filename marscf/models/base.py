"""The contracts of a density model of discrete images and of a flow.

Images are `uint8 (B,C,H,W)` with values `0 … grey_levels-1`. A continuous model sees
`y = (x + u) / grey_levels` with dequantisation noise `u` in [0,1) (Theis et al., arXiv 1511.01844), so
`log P(x) ≥ E_u[log p(y)] - D log(grey_levels)`.
"""

import math
import re
from abc import ABC, abstractmethod
from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, ClassVar, Self, TypeVar

import numpy as np
import torch
from torch import Tensor, nn

from marscf.errors import ConfigError
from marscf.flows.bijection import Bijection
from marscf.flows.pixels import Centre, Logit
from marscf.kernels import graphs
from marscf.kernels.cached import forget
from marscf.kernels.graphs import Replays
from marscf.options import Margin
from marscf.priors.prior import Prior

if TYPE_CHECKING:
    from marscf.data.arrays import Joined

Shape = tuple[int, int, int]
V = TypeVar("V")


@dataclass(frozen=True)
class Estimate:
    """Which estimate `log_prob` gives in eval mode, where a model can only estimate it.

    Attributes:
        probes: random vectors per image; the estimate is the mean over them.
        index: 0, 1, …: estimates of different index are independent.
    """

    probes: int
    index: int = 0


class DensityModel(nn.Module, ABC):
    """A density of discrete images. Subclasses implement `log_prob` and `sample`.

    Constructors take `(shape, grey_levels, *, <options>)`; the keyword-only options with their annotations
    are the schema of `options:` in `config/systems/`. Whoever builds a model has checked them. Weights depend
    on neither batch size nor device. What a model can do besides is said by the attributes below.
    """

    #: Whether `fit` finds the weights in closed form; if not, they are trained by gradient steps.
    closed_form: ClassVar[bool] = False
    #: Whether `activation_checkpointing` has an effect.
    can_recompute: ClassVar[bool] = False
    #: Whether its kernels depend on no value and never wait for the device: a GPU then replays them
    #: (`marscf.kernels.graphs`).
    replayable: ClassVar[bool] = False
    #: Why sampling time depends on the weights, or None where it does not.
    sampling_depends_on_weights: ClassVar[str | None] = None
    #: What weights were called in older files: pattern → replacement, for the start of a name.
    renamed: ClassVar[Mapping[str, str]] = {}

    def __init__(self, shape: Shape, grey_levels: int):
        super().__init__()
        channels, height, width = shape
        self.shape: Shape = (channels, height, width)
        self.grey_levels = grey_levels
        #: Whether the backward pass computes activations again, to save memory; set by the trainer.
        self.activation_checkpointing = False

    @property
    def likelihood(self) -> str:
        """What `log_prob` is, in the words of the measurement's protocol."""
        return "exact"

    @property
    def sampling(self) -> str:
        """How `sample` differs from drawing of the density, in the words of a protocol; nothing where not."""
        return ""

    @property
    def estimate(self) -> Estimate | None:
        """The estimate that `log_prob` gives unless it is asked for another; None for an exact value."""
        return None

    @property
    def dims(self) -> int:
        """Number of sub-pixels D = C·H·W."""
        return math.prod(self.shape)

    @property
    def device(self) -> torch.device:
        """The device that the parameters are on."""
        return next(self.parameters()).device

    @property
    def recorded(self) -> bool:
        """Whether its work is recorded where it is: replayable, on a GPU that records."""
        return self.replayable and graphs.serve(self.device)

    def train(self, mode: bool = True) -> Self:
        """See `nn.Module.train`; what was derived from the weights is derived again, however they changed."""
        forget()
        return super().train(mode)

    def draw_noise(self, n: int, generator: torch.Generator | None = None) -> Tensor | None:
        """Draw the randomness that `log_prob` of `n` images needs, or None where it needs none.

        Drawn on the generator's device (CPU without one) and moved to the model's, so that one seed gives
        one number on every machine.
        """
        return None

    @abstractmethod
    def log_prob(self, x: Tensor, noise: Tensor | None = None, estimate: Estimate | None = None) -> Tensor:
        """Return the log-likelihood `(B,)`, in nats, of discrete images `x (B,C,H,W) uint8`.

        Where the model is dequantised, `noise` (from `draw_noise`; drawn afresh when None) makes it a
        one-draw estimate whose mean over draws is a lower bound and whose log-mean-exp is the
        importance-weighted bound. `estimate` counts in eval mode alone; a model that has none is given none.
        """

    @abstractmethod
    def sample(self, n: int, temperature: float = 1.0, generator: torch.Generator | None = None) -> Tensor:
        """Draw `n` images, `uint8 (n,C,H,W)`; `temperature` scales the noise (or divides the logits)."""

    def fit(self, images: "np.ndarray | Joined") -> None:
        """Set the weights from training images `uint8 (N,C,H,W)`; of models with `closed_form` alone."""
        raise NotImplementedError

    def begin_step(self) -> None:
        """Do what a training step does once, however its batch is shared out; called before its first loss.

        Randomness that all parts of a batch share is drawn here, from torch's global generator, which the
        trainer seeds alike in all processes.
        """

    def training_loss(self, x: Tensor, noise: Tensor | None = None) -> Tensor:
        """Return what training minimises, `(B,)` nats: the negative `log_prob` unless overridden."""
        return -self.log_prob(x, noise)

    @torch.no_grad()
    def initialise(self, x: Tensor, noise: Tensor | None = None) -> None:
        """Set data-dependent parameters (ActNorm) from one batch; called once, before the first step."""
        training = self.training
        self.train()
        self.log_prob(x, noise)
        self.train(training)

    @classmethod
    def current_names(cls, weights: Mapping[str, V]) -> dict[str, V]:
        """Return weights, or whatever goes by their names, under the names that they have now."""
        current = {}
        for name, value in weights.items():
            for pattern, replacement in cls.renamed.items():
                name = re.sub(f"^{pattern}", replacement, name)
            current[name] = value
        return current

    def load_state_dict(self, state_dict: Mapping[str, Any], *args: Any, **kwargs: Any) -> Any:
        """See `nn.Module.load_state_dict`; takes weights under older names too."""
        return super().load_state_dict(self.current_names(state_dict), *args, **kwargs)


class FlowModel(DensityModel):
    """A normalizing flow on dequantised images. Subclasses implement the abstract methods below.

    With `logit_margin`, the flow sees `logit(margin + (1 - 2 margin) · pixel)` in place of the pixel, which
    spreads out black and white pixels. It is a bijection like any other: its log-determinant counts, and
    `decode` inverts it.

    The dequantisation noise is uniform; with a `dequantiser` (`marscf.models.dequantiser.learned` makes one
    of the option of that name) it is learned, `u ~ q(u|x)`. Then
    `log_prob` estimates, with one draw of q's Gaussian noise, the bound
    `log P(x) ≥ E_q[log p(y) - log q(u|x)] - D log(grey_levels)` (Flow++, arXiv 1902.00275, section 3.1).
    """

    def __init__(
        self,
        shape: Shape,
        grey_levels: int,
        logit_margin: Margin = None,
        dequantiser: nn.Module | None = None,
    ):
        super().__init__(shape, grey_levels)
        #: Maps images `y (B,C,H,W)` in [0,1] and Gaussian noise to `u` in (0,1) and `log q(u|x) (B,)` nats.
        self.dequantiser = dequantiser
        self.logit_margin = logit_margin
        #: What every image passes first: the logit, or nothing.
        self.pixels: Bijection = Centre() if logit_margin is None else Logit(logit_margin)
        self._drawing = Replays()

    @property
    def likelihood(self) -> str:
        """See `DensityModel.likelihood`; names the dequantisation and the logit's margin."""
        bound = "lower bound, uniform" if self.dequantiser is None else "ELBO, variational"
        logit = "" if self.logit_margin is None else f", logit margin {self.logit_margin:g}"
        return f"{bound} dequantisation{logit}"

    @property
    def last_prior(self) -> Prior | None:
        """The prior of the last latent, where it has one over its channels."""
        return None

    def draw_noise(self, n: int, generator: torch.Generator | None = None) -> Tensor:
        """Draw noise `(n,C,H,W)`: `u`, uniform in [0,1), or the dequantiser's, standard normal."""
        device = generator.device if generator is not None else "cpu"
        draw = torch.rand if self.dequantiser is None else torch.randn
        return draw(n, *self.shape, generator=generator, device=device).to(self.device)

    def dequantise(self, x: Tensor, noise: Tensor | None = None) -> tuple[Tensor, Tensor | float]:
        """Map `uint8` images and noise (drawn afresh when None) to `y` and `log q(u|x)`, `(B,)` nats or 0."""
        noise = self.draw_noise(len(x)) if noise is None else noise
        if self.dequantiser is None:
            return self.to_continuous(x, noise), 0.0
        middle = self.to_continuous(x)
        recompute = self.activation_checkpointing
        u, log_q = self.dequantiser(middle, noise.to(middle.dtype), recompute)
        return middle + (u - 0.5) / self.grey_levels, log_q

    def to_continuous(self, x: Tensor, noise: Tensor | None = None) -> Tensor:
        """Map `uint8` images and `u` in [0,1) (1/2 when None) to `y = (x+u)/grey_levels`."""
        check_images(x, self.shape)
        dtype = next(self.parameters()).dtype
        u = 0.5 if noise is None else noise.to(dtype)
        return (x.to(dtype) + u) / self.grey_levels

    def to_discrete(self, y: Tensor) -> Tensor:
        """Map continuous images back to `uint8`, clamped into range (NaN becomes 0)."""
        levels = torch.floor(y.float() * self.grey_levels).nan_to_num(0.0)
        return levels.clamp(0, self.grey_levels - 1).to(torch.uint8)

    def log_prob(self, x: Tensor, noise: Tensor | None = None, estimate: Estimate | None = None) -> Tensor:
        """See `DensityModel.log_prob`: `log p(y) - D log(grey_levels) - log q(u|x)`."""
        y, log_q = self.dequantise(x, noise)
        return self.log_density(y) - self.dims * math.log(self.grey_levels) - log_q

    @torch.no_grad()
    def sample(self, n: int, temperature: float = 1.0, generator: torch.Generator | None = None) -> Tensor:
        """See `DensityModel.sample`."""
        eps = self.draw_eps(n, temperature, generator)
        if not self.recorded or self.training:
            return self.to_discrete(self.decode_noise(eps))
        y = self._drawing.run(lambda *own: self.decode_noise(list(own)), eps, self.parameters())
        return self.to_discrete(y)

    def decode_noise(self, eps: list[Tensor]) -> Tensor:
        """Return `decode(latents_from(eps))`."""
        return self.decode(self.latents_from(eps))

    def draw_eps(
        self, n: int, temperature: float = 1.0, generator: torch.Generator | None = None
    ) -> list[Tensor]:
        """Draw standard-normal noise times `temperature`, one tensor per latent."""
        device = generator.device if generator is not None else "cpu"
        dtype = next(self.parameters()).dtype
        return [
            temperature * torch.randn(n, *shape, generator=generator, device=device).to(self.device, dtype)
            for shape in self.latent_shapes
        ]

    def encode(self, x: Tensor, noise: Tensor | None = None) -> list[Tensor]:
        """Return the latents of `uint8` images; with `noise=None` at the middle of their grey level."""
        y = self.to_continuous(x) if noise is None else self.dequantise(x, noise)[0]
        return self.encode_continuous(y)[0]

    def log_density(self, y: Tensor) -> Tensor:
        """Return `log p(y)`, `(B,)` nats, of continuous images."""
        latents, log_det = self.encode_continuous(y)
        return self.latent_log_prob(latents) + log_det

    # ---- implemented by subclasses

    @property
    @abstractmethod
    def latent_shapes(self) -> list[Shape]:
        """Shapes of the latents, in the order of `encode`, without the batch."""

    @abstractmethod
    def encode_continuous(self, y: Tensor) -> tuple[list[Tensor], Tensor]:
        """Map `y (B,C,H,W)` in [0,1) to its latents and the flow's `log_det (B,)` in nats."""

    @abstractmethod
    def decode(self, latents: list[Tensor]) -> Tensor:
        """Map latents back to `y (B,C,H,W)`; the inverse of `encode_continuous`."""

    @abstractmethod
    def latents_from(self, eps: list[Tensor]) -> list[Tensor]:
        """Map standard-normal noise to latents drawn from the prior (MARPS for a mAR prior)."""

    @abstractmethod
    def latent_log_prob(self, latents: list[Tensor]) -> Tensor:
        """Return the prior's `log p(z)`, `(B,)` nats, each context recomputed from what is decoded.

        Differentiable in `latents`: the interpolation study climbs it.
        """


def check_images(x: Tensor, shape: Shape) -> None:
    """Raise `ConfigError` unless `x` is a batch of discrete images of this shape."""
    if x.ndim != 4 or tuple(x.shape[1:]) != tuple(shape) or x.is_floating_point():
        raise ConfigError(
            f"expected integer images (B,{','.join(map(str, shape))}), got {x.dtype} {tuple(x.shape)}"
        )


def check_levels(shape: Shape, levels: int) -> None:
    """Raise `ConfigError` unless `levels` squeezes divide the image's sides."""
    _, height, width = shape
    if height % 2**levels or width % 2**levels:
        raise ConfigError(
            f"levels: {levels} squeezes need sides divisible by {2**levels}, the images are {height}×{width}"
        )
