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
        inputs=("receipt.json",),
        about=trained,
        text="""
**Shown.** Bits/dim of each run, left over the images trained on, right over the minutes it took: of the
validation images under the averaged weights (lines with markers), and of the training batches (thin lines,
running median). The star marks the weights that were kept. A vertical line through the right panel meets the
systems at equal training time.

**Measured.** `log.jsonl` of each run. The minutes are those of the table of likelihoods, of processor time on
a CPU, spread evenly over the steps. The validation images are split off from the training images; the test
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
and all of T, the time that the shortest run on the dataset took; then what it reached at its own end, and the
minutes it took. The systems differ in size, and in how many images they get through, so parameters and images
seen are given too. Several seeds of a system are one row: their mean ± standard deviation.

**Measured.** As the training curves. A value is that of the last validation before the time, so it is up to
one interval of validation old; a dash says that there was none yet.

**To conclude.** The column T compares systems at the same cost. The steps of a run are sized to its own
end, where its learning rate has decayed. So before its end, a longer run is worse than one that was
sized to stop there.""",
    ),
]
