"""Ways between two test images, through the latent space."""

from marscf.reporting.catalogue.product import Product, interpolated, scored

PRODUCTS = [
    Product(
        name="fig11_interpolation",
        kind="figure",
        title="Figure 11: interpolation between test images",
        draw="marscf.reporting.interpolation.paths",
        inputs=("interpolation.npz",),
        about=interpolated,
        text="""
**Shown.** Pairs of test images, and the way from one to the other through the latent space. The upper row of
each two is the straight line. In the lower row its points were moved by our reading of the method. The framed
images at both ends are real, and the same in both rows. All images between them are decoded from latents.

**Measured.** `marscf study interpolate`. The supplement does not print the equation. Our reading has three
terms: each point goes downhill, by 100 steps of Adamax, on |z-z_line|² - λ1·log p(z) + λ2·min(|x-x_A|²,
|x-x_B|²), with x the image of z. Distances are mean squares, in the standard deviations of real images'
latents (of each level) and pixels, and log p(z) is in nats per dimension; so the scale of the latents, which
is arbitrary, changes nothing. λ1 = λ2 = 0 is the straight line. The densest images of a flow are blank or
blurred. So density counts up to that of the denser real end, and no point ends denser than that, or than it
started. Apart from this bound, the end of the descent is shown, whatever it is. λ is chosen on pairs of
validation images, by the score of the table below; λ = 0 is among the choices. The title says which λ is
drawn.

**In the paper.** Straight lines leave the regions where data lie, and the images halfway are blurred
mixtures. The moved paths look like images all along.

**To conclude.** Look at the middle columns: are they images of this dataset, or two of them on top of
each other? Then look whether the lower row is a way at all. Where its left half repeats one real image
and its right half the other, the third term has pulled the points to the ends, and the change happens in
one jump. The findings and the table say whether density has a part in it.""",
    ),
    Product(
        name="fig12_interpolation_scores",
        kind="figure",
        title="Figure 12: scores along the interpolation",
        draw="marscf.reporting.interpolation.scores",
        inputs=("interpolation_scores.csv",),
        about=scored,
        text="""
**Shown.** The Inception score of the images at each t, for the straight line and for the points moved by our
reading of the method, ± standard error.

**Measured.** On pairs of test images; all images at one t are one set. λ was chosen on pairs of validation
images. The axis names the classifier. Where it is not Inception (at `quick` it is a small network trained on
the digits), the score compares the two rows with each other, and with nothing published. It grows with the
number of images, which is the same at each t. Each error bar is of one score. Both scores are of the same
pairs, so the error of their difference is smaller: the findings give it, by the jackknife over pairs.

**In the paper.** The score of the straight line falls in the middle, that of the moved paths much less.

**To conclude.** Both meet at t = 0 and t = 1, where the images are real. A score near that of the real
images says that each image looks like one class. It does not say that the way between them is gradual:
copies of the two real images score as high.""",
    ),
    Product(
        name="table_interpolation",
        kind="table",
        title="How the interpolation depends on λ and on how density counts",
        draw="marscf.reporting.interpolation_table.sensitivity_table",
        inputs=("interpolation.csv",),
        about=interpolated,
        text="""
**Shown.** log p(z) of the latents, which the method raises, and log p(x) of the image, which it does not: of
the real images at the ends, of the straight line, and of the moved points by λ = λ1 = λ2. Then at how many
points between the ends a latent is denser than both ends; how far the points were moved off the line, and how
far their images are from the nearer real one (mean squares, in standard deviations of real images' latents
and pixels; two unrelated images are about 2 apart); and the Inception score, the mean over the t between the
ends.

**Measured.** `marscf study interpolate`: all choices on pairs of validation images; the straight line and the
choice that is drawn on pairs of test images. Density counts up to that of the denser real end (typical),
without bound, or not at all. The λ with the highest score on the validation pairs is chosen, the smaller of
two that are equal; the straight line is among the choices. Without a classifier it is the middle λ. Gains are
over the straight line at the same t of the same pair; their errors are over pairs.

**In the paper.** λ1 ≈ λ2 in [0.2, 0.5], without a table.

**To conclude.** First compare real images with the straight line. The method assumes that the line is
less dense than they are. Where it is already denser, density has nothing to gain. Then compare the rows
at one λ: typical density against density ignored shows what the second term adds to the score, and
unbounded density shows what it costs. A score that still rises at the largest λ says that images nearer
to real ones score better, and nothing about a best λ.""",
    ),
]
