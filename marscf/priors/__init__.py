"""What a latent is drawn from, given its context."""
