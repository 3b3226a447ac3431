"""The likelihood of test images."""

from marscf.reporting.catalogue.product import METRICS, Product, every

PRODUCTS = [
    Product(
        name="table_likelihood",
        kind="table",
        title="Bits per dimension",
        draw="marscf.reporting.tables.likelihood",
        inputs=METRICS,
        about=every,
        text="""
**Shown.** For each run: bits/dim of the test images ± standard error over the images; the importance-weighted
bound where it was measured; nats per image; the number of parameters. Then the published number where one can
be compared, its source, and how ours compares. Where a system has several seeds, the row of their mean is
compared.

**Measured.** `marscf evaluate likelihood`: every test image, none dropped; dropout off; the weights that were
best on the validation images. Where a system is dequantised, the number is a lower bound on the likelihood,
averaged over draws of the noise from a fixed seed. Hold the pointer over a number to see its protocol, or
follow it to its run.

**In the paper.** Its test number keeps dropout on, drops the last batch and takes the best checkpoint on the
test images. Ours does none of these; this alone can make it a little worse or better. The per-pixel histogram
is ours: the least that a model must beat.

**To conclude.** Compare numbers within a dataset only. Compare one with a published number only where
the last column does not say otherwise.""",
    ),
]
