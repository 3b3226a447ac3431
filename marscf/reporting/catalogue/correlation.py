"""What a channel-autoregressive prior is for."""

from marscf.reporting.catalogue.product import Product, with_prior

PRODUCTS = [
    Product(
        name="latent_correlation",
        kind="figure",
        title="What a mAR prior is for: correlation among the channels of the latents",
        draw="marscf.reporting.latents.correlations",
        inputs=("latent_correlation.npz",),
        about=with_prior,
        text="""
**Shown.** The absolute correlation between each two channels of the last level's latent: above as the flow
encodes validation images, below after standardising by the run's own prior, residual = (latent - μ)/σ. The
title of each panel gives the mean over pairs of different channels.

**Measured.** On validation images, over images and positions. A prior that fits leaves residuals that are
independent standard-normal noise, and so have no correlation.

**In the paper.** The channels that a Glow-like flow splits off are correlated, but its Gaussian prior takes
them as independent. The channel-autoregressive prior is made to model this.

**To conclude.** Compare the lower row: Glow's prior leaves the correlation in, a mAR prior removes it.
Where the upper panel of mAR-SCF is brighter than Glow's, the flow has learned to leave to its prior what
that can model.""",
    ),
]
