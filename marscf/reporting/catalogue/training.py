"""How training went, and what systems reach in equal times."""

from marscf.reporting.catalogue.product import Plan, Product, Runs, every


def trained(plan: Plan) -> Runs:
    """All runs; none where all are imported."""
    return [] if plan.scale.published else every(plan)


PRODUCTS = [
    Product(
        name="training_curves",
        kind="figure",
        title="Training curves",
        draw="marscf.reporting.training_curves.curves",
        inputs=("receipt.json", "likelihood.json"),
        about=trained,
        text="""
**Shown.** Bits/dim of each run over the images trained on, the FLOPs of training, and the minutes it took: of
the validation images under the averaged weights (lines with markers), and of the training batches (thin
lines, running median). The star marks the weights that were kept. A vertical line through a panel meets the
systems at equal images, equal work or equal time.

**Measured.** `log.jsonl` of each run. FLOPs are counted, not timed: the convolutions and matrix products of
the loss and its gradients. The minutes are those of the table of likelihoods, of processor time on a CPU,
spread evenly over the steps. The validation images are split off from the training images; the test
images have no part in this.

**To conclude.** A curve that still falls at its right end says that the run has not reached its best: at
the small scales most have not. Where the validation curve rises above the training curve, the model
memorises.""",
    ),
    Product(
        name="table_equal_time",
        kind="table",
        title="At equal training time",
        draw="marscf.reporting.training_curves.equal_time",
        inputs=("receipt.json",),
        about=trained,
        text="""
**Shown.** For each system the lowest bits/dim of the validation images until a quarter, half, three quarters
and all of T, the time that the shortest run on the dataset took; then what it reached at its own end, and
the minutes it took. Controls do not count for T: they see as many images as another system, in less time.
The systems differ in size, and in how many images they get through, so parameters and images seen are given
too. Several seeds of a system are one row: their mean ± standard deviation.

**Measured.** As the training curves. A value is that of the last validation before the time, so it is up to
one interval of validation old; a dash says that there was none yet, or that a control had ended.

**To conclude.** The column T compares systems at the same cost. The steps of a run are sized to its own
end, where its learning rate has decayed. So before its end, a longer run is worse than one that was
sized to stop there.""",
    ),
    Product(
        name="extrapolation",
        kind="figure",
        title="Where the curves point to (extrapolated)",
        draw="marscf.reporting.extrapolation_drawn.figure",
        inputs=("receipt.json",),
        about=trained,
        text="""
**Shown.** Validation bits/dim over the images trained on (lines with markers), and a power law through each
curve, on to the number of images of scale `paper` (dotted). There stand the middle of the extrapolations with
its interval, and the published number, where there is one for this dataset.

**Measured.** As the next table says. **This is an extrapolation, not a measurement.**

**To conclude.** Nothing where the interval is wide. The models here are smaller than the published ones, and
the last part of a run falls faster than a power law, because its learning rate falls to 0.""",
    ),
    Product(
        name="table_extrapolation",
        kind="table",
        title="What the curves say of the paper's training (extrapolated)",
        draw="marscf.reporting.extrapolation_drawn.table",
        inputs=("receipt.json",),
        about=trained,
        text="""
**Shown.** For each system what it reached; how wrong a fit to the first half and the first quarter of its own
run was about its end (predicted minus reached, the largest over seeds); then the extrapolation to the number
of images of scale `paper`, with an interval, beside the published number. *On course*: the published number
is in the interval or above it. *Short*: it is below. *Can't say*: the interval is wider than 0.3 bits/dim, or
there is nothing to compare with.

**Measured.** A fit of `a + b·images^(-c)` to the validations of each seed, without the first tenth of its
images. The interval holds 95 % of 200 fits per seed with residuals drawn again. It is widened on both sides
by the error of the longest trial, times the logarithm of how many times further the extrapolation goes than
the trial went. **This is an extrapolation, not a measurement.**

**To conclude.** A small trial error says that the curve is regular, not that a larger model would follow
it.""",
    ),
]
