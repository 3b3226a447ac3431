"""The contract of a prior: what a latent is drawn from, given its context."""

from torch import Tensor, nn


class Prior(nn.Module):
    """A conditional density of latents `(B,C,H,W)`; subclasses implement `log_prob` and `sample`.

    `context` is the other half of a multi-scale split, `(B,C,H,W)`, or None at the last level.
    """

    def log_prob(self, z: Tensor, context: Tensor | None = None) -> Tensor:
        """Return `log p(z | context)`, shape `(B,)`, in nats."""
        raise NotImplementedError

    def sample(self, context: Tensor | None, noise: Tensor) -> Tensor:
        """Map standard-normal `noise (B,C,H,W)` to a sample of the same shape."""
        raise NotImplementedError
