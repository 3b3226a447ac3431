"""What the YAML files of `config/` may say: one pydantic class for each section."""

from typing import Annotated, Any, Literal

import pydantic
from pydantic import AfterValidator, Field, NonNegativeInt, PositiveFloat, PositiveInt

Probability = Annotated[float, Field(ge=0, lt=1)]
Margin = Annotated[float, Field(gt=0, lt=0.5)] | None


def _inside(path: str) -> str:
    """Return the relative path of a file, unless it leaves its folder."""
    if path.startswith(("/", "\\", "~")) or ".." in path.replace("\\", "/").split("/") or not path:
        raise ValueError("a file must lie in its folder: no absolute path, no ..")
    return path


FileName = Annotated[str, AfterValidator(_inside)]
Name = Annotated[str, Field(pattern=r"^[a-z0-9][a-z0-9.-]*$")]


class Strict(pydantic.BaseModel):
    """A section of a YAML file: unknown keys refused, values checked, immutable."""

    model_config = pydantic.ConfigDict(extra="forbid", frozen=True, allow_inf_nan=False)


class Checkpoint(Strict):
    """A file of weights that the authors of a public code published (`config/checkpoints/`)."""

    name: Name
    code: Literal["mar-scf", "residual-flows", "glow-pytorch"]  # that wrote it, see marscf/compat
    source: "Source"
    suffix: str | None = None  # of the checkpoints inside a zip; None where the file is one itself
    hparams: str | None = None  # the file of hyper-parameters inside the zip
    licence: str = ""
    cite: str = ""
    note: str = ""


class Overrides(Strict):
    """What a scale changes of a system."""

    options: dict[str, Any] = {}
    training: dict[str, Any] = {}


class ScaleOverrides(Overrides):
    """What one scale changes of a system, for all datasets and for single ones."""

    datasets: dict[str, Overrides] = {}
    seeds: list[NonNegativeInt] = []  # the scale's where not given; more than one to see their spread


class System(Strict):
    """One thing that is trained and measured (`config/systems/`)."""

    name: Name
    title: str  # in tables and figures
    order: int = 100  # place in tables and figures
    colour: Annotated[str, Field(pattern=r"^#[0-9A-Fa-f]{6}$")] | None = None  # in figures
    model: str  # module.Class in marscf.models, or importable from elsewhere
    cite: str  # paper
    in_paper: bool = True  # whether the mAR-SCF paper has it; the report marks the others
    control_of: Name | None = None  # the system that sees as many images; its own time is not compared at
    options: dict[str, Any]  # arguments of the model's constructor, the paper's values
    training: dict[str, Any] = {}  # what differs from the scale's
    scales: dict[str, ScaleOverrides] = {}


class Source(Strict):
    """One file at its publisher."""

    file: FileName  # its name in a mirror, MIRROR/<dataset or checkpoint>/<file>
    urls: list[str] = []  # tried in order
    sha256: str | None = None
    md5: str | None = None  # where the publisher states no other
    bytes: PositiveInt | None = None


class Release(Strict):
    """One of several releases of a dataset whose images differ; its numbers never stand beside another's."""

    images: dict[str, PositiveInt]  # source split -> their number, which tells the releases apart
    sources: dict[str, Source]
    where: str = ""  # how to come by files that have no public address


class SourceOptions(Strict):
    """What a dataset's parser is told."""

    path: str | None = None  # formats folder and npy: your images
    test_path: str | None = None  # your test images, where they are a folder or file of their own
    test: NonNegativeInt = 0  # training images split off for testing, where the source has no test images


class Dataset(Strict):
    """One dataset (`config/datasets/`)."""

    name: Name
    title: str  # in tables and figures; the name where not given
    format: str  # of its sources, a parser of marscf.data.formats
    shape: tuple[Literal[1, 3], PositiveInt, PositiveInt]  # C, H, W as the models see it: grey or RGB
    grey_levels: Annotated[int, Field(ge=2, le=256)] = 256
    dims: PositiveInt | None = None  # what bits/dim divides by; C·H·W where not given
    augment: Literal["none", "flip", "shift", "flip-shift"] = "none"  # of training images
    logit_margin: Margin = None  # that every flow has on these images; null: what each system says
    # images split off from the training images; training.validation_images: 0 trains on them too
    validation: PositiveInt
    sources: dict[str, Source] = {}
    releases: dict[str, Release] = {}  # in place of sources, where there are several; the first is preferred
    options: SourceOptions = SourceOptions()
    digests: dict[str, str] = {}  # source split -> order-independent digest of the decoded images
    mirror_name: Name | None = None  # folder in a mirror, the dataset's name where not given
    licence: str = ""
    cite: str = ""
    note: str = ""

    @pydantic.model_validator(mode="before")
    @classmethod
    def _title(cls, value: Any) -> Any:
        return {"title": value.get("name"), **value} if isinstance(value, dict) else value

    @property
    def own(self) -> bool:
        """Whether its images are the user's, named by `options`; else they are downloaded."""
        return self.format in ("folder", "npy")

    @property
    def labelled(self) -> bool:
        """Whether a classifier can be trained on it."""
        return not self.own

    @property
    def dimensions(self) -> int:
        """What bits/dim divides by."""
        channels, height, width = self.shape
        return self.dims or channels * height * width


class Fidelity(Strict):
    """How samples are compared with real images (`marscf evaluate fidelity`)."""

    extractor: Literal["inception", "digits-net", "none"] = "digits-net"
    samples: Annotated[int, Field(ge=8)] = 50_000
    batch_size: PositiveInt = 250  # samples drawn at once
    # Published FIDs are against the publisher's whole training set: train+val.
    reference: Literal["train", "train+val", "test"] = "train"


class Evaluation(Strict):
    """How a run is measured (`marscf evaluate`)."""

    batch_size: PositiveInt = 250
    draws: PositiveInt = 4  # dequantisation draws averaged
    importance_samples: NonNegativeInt = 0  # draws of the importance-weighted bound; 0 leaves it out
    images: PositiveInt | None = None  # of the test set; all where not given
    grid: PositiveInt = 64  # images in a sample grid
    fidelity: Fidelity = Fidelity()


class SamplingSpeed(Strict):
    """The sampling-speed sweep (Fig. 7)."""

    dataset: str | None = None  # whose options and grey levels are taken; the scale's first where not given
    exclude: list[str] = ["histogram"]  # systems without sampling depth
    sides: Annotated[list[PositiveInt], Field(min_length=1)] = [8, 16, 32, 64, 128]
    channels: PositiveInt = 3
    batch_size: PositiveInt = 8
    repeats: PositiveInt = 10
    budget_seconds: PositiveFloat | None = None  # of a point's repeats; left out where one call takes 10×
    unlimited: list[str] = []  # systems without that budget

    def budget(self, system: str) -> float | None:
        """Return the budget of each of a system's points, None where there is none."""
        return None if system in self.unlimited else self.budget_seconds


class Interpolation(Strict):
    """The interpolation study (Figs. 11 and 12)."""

    dataset: str
    system: str
    pairs: PositiveInt = 4  # of test images, drawn in Fig. 11
    score_pairs: PositiveInt = 64  # of test images, of the scores in Fig. 12; the drawn ones are among them
    validation_pairs: Annotated[int, Field(ge=2)] = 24  # of validation images, by which λ is chosen
    batch_size: PositiveInt = 256  # points that are moved at once, in whole pairs
    points: Annotated[int, Field(ge=3)] = 9  # along a path, both ends counted
    iterations: PositiveInt = 100
    learning_rate: PositiveFloat = 5e-2  # in the standard deviations of each level's latents
    objective: Literal["three-term", "two-term"] = "three-term"  # see marscf/studies/interpolation.py
    # up to where log p(z) counts: to that of the denser real end, or without bound, or not at all
    density: Literal["typical", "unbounded", "ignored"] = "typical"
    # λ1 = λ2, of which one is chosen; λ = 0, the straight line, is always among them
    lambdas: Annotated[list[PositiveFloat], Field(min_length=1)] = [0.2, 0.35, 0.5]


class Studies(Strict):
    """The two studies."""

    sampling_speed: SamplingSpeed = SamplingSpeed()
    interpolation: list[Interpolation] = []


class SampleFigure(Strict):
    """Which samples stand side by side in one of Figs. 8 to 10."""

    dataset: str
    systems: list[str]


class Resources(Strict):
    """What one training job asks of a cluster."""

    gpu: NonNegativeInt = 0
    minutes: PositiveInt = 60
    memory_mb: PositiveInt = 8000
    threads: PositiveInt = 1


class Scale(Strict):
    """How large everything is (`config/scales/`)."""

    name: Name
    description: str
    datasets: Annotated[list[str], Field(min_length=1)]
    # all where not given; any other is trained where it is asked for
    systems: Annotated[list[str], Field(min_length=1)] | None = None
    published: bool = False  # its runs are the published checkpoints, imported instead of trained
    seeds: Annotated[list[NonNegativeInt], Field(min_length=1)] = [0]
    like: Name | None = None  # another scale, whose models and training these are, but for what stands here
    longer: PositiveInt = 1  # times as many steps as there
    training: dict[str, Any] = {}
    evaluation: Evaluation = Evaluation()
    studies: Studies = Studies()
    figures: dict[str, SampleFigure] = {}
    resources: Resources = Resources()

    def evaluation_on(self, dataset: Dataset | None) -> Evaluation:
        """How runs on a dataset are measured: without labels there is no digits-net, so no fidelity."""
        fidelity = self.evaluation.fidelity
        if dataset is None or dataset.labelled or fidelity.extractor != "digits-net":
            return self.evaluation
        return self.evaluation.model_copy(
            update={"fidelity": fidelity.model_copy(update={"extractor": "none"})}
        )
