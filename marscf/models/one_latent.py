"""What flows with a single standard-normal latent have in common."""

from torch import Tensor

from marscf.counting import tick
from marscf.models.base import FlowModel
from marscf.priors.gaussian import gaussian_log_density


class OneLatentFlow(FlowModel):
    """A flow whose only latent is standard normal. Owed: `latent_shapes`, `encode_continuous`, `decode`."""

    def latents_from(self, eps: list[Tensor]) -> list[Tensor]:
        """See `FlowModel.latents_from`; all is drawn in one step."""
        tick()
        return eps

    def latent_log_prob(self, latents: list[Tensor]) -> Tensor:
        """See `FlowModel.latent_log_prob`."""
        (z,) = latents
        zero = z.new_zeros(())
        return gaussian_log_density(z, zero, zero).flatten(1).sum(1)

    def log_density(self, y: Tensor) -> Tensor:
        """See `FlowModel.log_density`."""
        latents, log_det = self.encode_continuous(y)
        return self.latent_log_prob(latents) + log_det
