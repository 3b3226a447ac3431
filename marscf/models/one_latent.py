"""What flows with a single standard-normal latent have in common."""

from typing import Any

from torch import Tensor

from marscf.counting import tick
from marscf.flows.chain import Chain
from marscf.models.base import FlowModel
from marscf.priors.gaussian import gaussian_log_density


class OneLatentFlow(FlowModel):
    """A chain of `layers` whose end is the only latent, standard normal. Subclasses set `layers`."""

    can_recompute = True
    layers: Chain

    def encode_continuous(self, y: Tensor, context: Any = None) -> tuple[list[Tensor], Tensor]:
        """See `FlowModel.encode_continuous`; the context is the layers'."""
        z, log_det = self.layers(y, context, recompute=self.activation_checkpointing)
        return [z], log_det

    def decode(self, latents: list[Tensor]) -> Tensor:
        """See `FlowModel.decode`."""
        (z,) = latents
        return self.layers.inverse(z)

    def latents_from(self, eps: list[Tensor]) -> list[Tensor]:
        """See `FlowModel.latents_from`; all is drawn in one step."""
        tick()
        return eps

    def latent_log_prob(self, latents: list[Tensor]) -> Tensor:
        """See `FlowModel.latent_log_prob`."""
        (z,) = latents
        zero = z.new_zeros(())
        return gaussian_log_density(z, zero, zero).flatten(1).sum(1)
