"""How fast systems sample, and how this grows with the image."""

from marscf.reporting.catalogue.product import SWEEP, Product, timed

PRODUCTS = [
    Product(
        name="fig07_sampling_speed",
        kind="figure",
        title="Figure 7: sampling speed over the image's side",
        draw="marscf.reporting.speed.sampling_speed",
        inputs=SWEEP,
        about=timed,
        text="""
**Shown.** Left, as in the paper: the time that mAR-SCF takes to draw one batch against the image's side N, on
linear axes, mean ± standard deviation over repeats, with the line y = 2x. Middle: all systems on log axes,
the median with the middle half of the repeats; the legend gives the exponent k of time ~ N^k with its 95 %
interval. Right: the sequential steps that the sampler really took; each must wait for the one before it.
Systems with equally many steps lie on top of each other.

**Measured.** `marscf study sampling-speed`: every system with the scale's options and fresh weights (trained
ones where the time depends on the weights), levels growing with log2 N, one warm-up call that is not timed,
and nothing else running. Steps are counted inside the samplers, not computed.

**In the paper.** mAR-SCF with MixLogCDF couplings samples in time that grows in proportion to N, drawn beside
the line y = 2x, as Lemma A.1 says of its steps. A fully autoregressive model needs N² steps.

**To conclude.** The steps are a property of the method and are the same on any machine. The time depends
on the machine too. While the machine's cores are not all busy, a step costs the same whatever N is, and
the time grows as the steps do. Once they are busy, as on a CPU, each step costs up to N² pixels more
work, and the time leaves the line.""",
    ),
    Product(
        name="table_sampling_speed",
        kind="table",
        title="Sampling speed at 32×32",
        draw="marscf.reporting.speed.speed_table",
        inputs=SWEEP,
        about=timed,
        text="""
**Shown.** Milliseconds per image and counted sequential steps of each system, at 32×32 or the largest side
below it that was timed; for mAR-SCF also the steps of Lemma A.1.

**Measured.** As Figure 7: batches, one warm-up call not timed, mean ± standard error over repeats. The
caption names the device.

**In the paper.** Its times are of one machine, and cannot be compared with another's. The steps of Lemma A.1
can: the status column compares them with those that were counted.

**To conclude.** Compare times within this table only: they belong to the machine in its caption, and to
this scale's model sizes.""",
    ),
    Product(
        name="table_sampling_growth",
        kind="table",
        title="Sampling speed: growth with the image's side",
        draw="marscf.reporting.speed.growth_table",
        inputs=SWEEP,
        about=timed,
        text="""
**Shown.** Milliseconds to draw one batch at each side N, the fitted growth of time with its 95 % interval,
the growth of the counted steps, and the cost of one sequential step at the smallest and at the largest side.

**Measured.** As Figure 7. `too slow` means that a single call would have taken ten times the study's budget.

**In the paper.** O(N) for mAR-SCF.

**To conclude.** Where a step costs more at the largest side than at the smallest, the machine is fully
used, and the time grows faster than the steps.""",
    ),
]
