"""Samples, and how close they are to real images."""

from marscf.reporting.catalogue.product import METRICS, Product, judged, shown_in


def _samples(name: str, number: int, dataset: str, paper: str, conclude: str) -> Product:
    """One of Figs. 8 to 10: the same sheets, of other systems."""
    return Product(
        name=name,
        kind="figure",
        title=f"Figure {number}: samples ({dataset} in the paper)",
        draw="marscf.reporting.samples.sample_grids",
        inputs=("samples.npy", "likelihood.json"),
        about=shown_in(name),
        text=f"""
**Shown.** Real images, then the first samples of each system's run at temperature 1; none is chosen. Above
each sheet are its system, bits/dim on the test images ± standard error, and training seed. A scale without
the paper's dataset (`quick` has handwritten digits only) draws the same systems on the dataset that it has:
the title above the real images names it.

**Measured.** Drawn by `marscf sample` with noise seed 0 from the weights that were best on the validation
images. The real images are the first of the validation split.

**In the paper.** {paper}

**To conclude.** {conclude} The table of FID says how close the samples are to real images; the eye is a
poor judge of diversity.""",
    )


PRODUCTS = [
    _samples(
        *("fig08_mnist_samples", 8, "MNIST"),
        paper="Residual Flow (0.97 bits/dim) beside mAR-SCF with MixLogCDF couplings (0.88 bits/dim): "
        "the strokes of mAR-SCF are cleaner and connected.",
        conclude="Look for broken strokes. A Gaussian prior draws the channels independently of each other, "
        "and so neighbouring pixels; a mAR prior does not.",
    ),
    _samples(
        *("fig09_cifar10_samples", 9, "CIFAR-10"),
        paper="PixelCNN (3.00 bits/dim) beside mAR-SCF with MixLogCDF couplings (3.24 bits/dim): "
        "PixelCNN has the better likelihood, but not the better pictures.",
        conclude="Bits/dim and appearance need not agree: compare the order of the numbers with the order of "
        "the pictures.",
    ),
    _samples(
        *("fig10_imagenet32_samples", 10, "ImageNet 32×32"),
        paper="Flow++, Residual Flow and mAR-SCF with MixLogCDF couplings: mAR-SCF keeps the global "
        "structure better at a similar bits/dim.",
        conclude="These are three systems of about the same family. They differ in how the channels of the "
        "latents depend on each other.",
    ),
    Product(
        name="table_fidelity",
        kind="table",
        title="Fidelity: FID, KID, Inception score, precision, recall",
        draw="marscf.reporting.tables.fidelity",
        inputs=METRICS,
        about=judged,
        text="""
**Shown.** Distances between samples and real images, and scores of the samples. Precision is the share of
samples that lie among the real images; recall is the share of real images that lie among the samples. The row
of real images is what test images reach against the training images: what a perfect model would get with this
extractor. The per-pixel histogram is what every model should beat.

**Measured.** `marscf evaluate fidelity`, by torch-fidelity. The brackets in a column's name give the feature
extractor where it is not Inception. Compare such numbers with each other, never with a published FID. Hold
the pointer over a number to see the extractor and its hash, the number of images and the reference split.

**In the paper.** FID 41.9 for mAR-SCF on CIFAR-10 (33.6 after longer training, in the authors' README), 46.4
for Residual Flow.

**To conclude.** FID grows as the number of samples gets smaller, so compare only rows of equal n. Low
precision says that a model draws what is no image; low recall says that it leaves images out. But
samples that scatter widely surround every image, so a recall above that of the real images is no merit.""",
    ),
]
