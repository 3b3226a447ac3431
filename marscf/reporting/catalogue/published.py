"""Published numbers, and ours beside them."""

from marscf.reporting.catalogue.product import METRICS, Product, every

PRODUCTS = [
    Product(
        name="table_published",
        kind="table",
        title="Every published number, and how ours compares",
        draw="marscf.reporting.tables.published_numbers",
        inputs=METRICS,
        about=every,
        text="""
**Shown.** The published numbers of the systems here, with their sources, and what was measured at this scale
(the mean where there are several seeds). Systems that are not run here are listed for comparison.

**Measured.** A number is reproduced if it is as near to the published one as another seed would be, above or
below. Near means: within the rounding of the print and twice the spread of its own seeds, where there are
three or more, else 0.01 bits/dim. The test images' error plays no part, because they are the same images.
Only the published size and length of training, or the released weights, can reproduce a number. A number is
compared only for the same dataset variant, dimensions, number of images, kind of bound, weights and, for FID,
extractor.

**To conclude.** At the small scales no row is `reproduced`: the models are smaller and are trained for a
fraction of the time. A number that is better than published there is a reason to look for a mistake. The
scale `paper` is the one to compare.""",
    ),
]
