"""What is no rule: the selection, the table of runs, and what each rule reads from them.

The files of `config/` are read by `marscf.config`, as on the command line. A mistake ends in one line.

Two habits of the rules: what a result depends on is a plain param, recorded by Snakemake, so that a change
runs it again. These are values of `config/`, and the digest of the code that can change a number
(`marscf.code`). What only says how to get there (a device) is a param that takes `threads` or `resources`,
which Snakemake does not record; a mirror is handed on in the environment.
"""

import os
import shlex
import sys
from pathlib import Path
from typing import Annotated

from pydantic import Field

# by module: a name like `parse` would replace Snakemake's own, which is global here
from marscf import config as loader
from marscf.code import behind
from marscf.environment import given, switch
from marscf.errors import ConfigError, MarscfError, nearest
from marscf.data.prepare import recipe
from marscf.data.sources import Store, source_digests
from marscf.files import digest, read_json
from marscf.compat.index import FOLDER, INDEX, published_runs
from marscf.evaluation import inception
from marscf.reporting.catalogue import planned, products
from marscf.reporting.catalogue.product import Plan, judged
from marscf.runs import Run, identity, other_code

# `marscf` and `papermill` of the Python that runs Snakemake, activated or not
os.environ.update(PATH=os.pathsep.join([os.path.dirname(sys.executable), os.environ.get("PATH", os.defpath)]))
os.environ.update(PYTHONUTF8="1")  # text is UTF-8 in every job, whatever the locale


class Selection(loader.Strict):
    """`config/config.yaml` with what `--config` changes of it."""

    scale: str
    systems: str | list[str] = "all"
    datasets: str | list[str] = "all"
    device: str = "auto"
    mirror: str | None = None
    offline: bool = False
    # at most so many images of each set, and so many samples; 8 are the fewest that a FID takes
    images: Annotated[int, Field(ge=8)] | None = None


def narrowed(kind, chosen, own, known):
    """Return the chosen names in the order of `known`: a list, names separated by commas, or 'all', the scale's own."""
    if chosen == "all":
        return list(own)
    names = [name.strip() for name in chosen.split(",")] if isinstance(chosen, str) else chosen
    for name in names:
        if name not in known:
            raise ConfigError(f"config: {kind}: no {name!r} at this scale{nearest(name, known)}")
    return [name for name in known if name in names]


try:
    SELECTION = loader.parse(Selection, dict(config), "config/config.yaml or --config")
    if SELECTION.mirror:
        os.environ.update(MARSCF_MIRROR=SELECTION.mirror)
    if SELECTION.offline:
        os.environ.update(MARSCF_OFFLINE="1")
    CONFIG = loader.load_config()
    SCALE = CONFIG.scale(SELECTION.scale)
    DATASETS = narrowed("datasets", SELECTION.datasets, SCALE.datasets, SCALE.datasets)
    SYSTEMS = narrowed("systems", SELECTION.systems, CONFIG.systems_of(SCALE.name), CONFIG.systems)
    TABLE = [
        Run(SCALE.name, dataset, system, seed)
        for dataset in DATASETS
        for system in SYSTEMS
        for seed in CONFIG.seeds(SCALE.name, system)
    ]
    TRAINED = {
        str(run.path): loader.resolve(CONFIG, run.scale, run.dataset, run.system, run.seed)
        for run in TABLE
        if not SCALE.published
    }
    planned(Plan(SCALE, TRAINED))  # a mistake in it is said at once
    inception.at_hand()
except MarscfError as error:
    print(f"snakemake: {error}", file=sys.stderr)
    sys.exit(error.exit_code)
if workflow.is_main_process:  # not once more in its jobs
    for line in filter(None, (other_code(path, run.model) for path, run in TRAINED.items())):
        print(f"snakemake: {line}", file=sys.stderr)

RUN = "data/runs/{scale}/{dataset}/{system}/seed{seed}"
LOGS = "logs/{scale}/{dataset}/{system}/seed{seed}"
FIDELITY = SCALE.evaluation.fidelity
JOB = {
    "gpu": SCALE.resources.gpu,
    "mem_mb": SCALE.resources.memory_mb,
    "runtime": SCALE.resources.minutes,
}


wildcard_constraints:
    scale=SCALE.name,
    dataset="|".join(DATASETS),
    system="|".join(SYSTEMS),
    seed="[0-9]+" if SCALE.published else "|".join(sorted({str(run.seed) for run in TABLE})),
    name="|".join(products()),


# ---- what is made: known at the start, but for published checkpoints, which have to be fetched first


def runs():
    """The runs of the selection with their configs, by folder."""
    if not SCALE.published:
        return TRAINED
    checkpoints.published.get()
    return {
        entry.run: entry.config
        for entry in published_runs()
        if entry.config.dataset in DATASETS and entry.config.system in SYSTEMS
    }


def fidelity():
    """How samples are compared with real images: by no extractor where Inception's weights cannot be had."""
    runs()  # of two checkpoints the same one has to come first for inputs and params
    if FIDELITY.extractor == "inception" and not inception.at_hand():
        if read_json(checkpoints.inception.get().output[0])["missing"]:
            return FIDELITY.model_copy(update={"extractor": "none"})
    return FIDELITY


def plan():
    """The selection, as the catalogue of tables and figures sees it."""
    evaluation = SCALE.evaluation.model_copy(update={"fidelity": fidelity()})
    return Plan(SCALE.model_copy(update={"evaluation": evaluation}), runs())


# ---- how, not what: params that Snakemake does not record


def device(wildcards, threads):
    """Where a stage computes."""
    return f"--device {shlex.quote(SELECTION.device)}"


def images(wildcards, threads):
    """How many images will be measured at most."""
    return ONLY


def launcher(wildcards, resources):
    """`marscf`, or as many processes of it as the job has GPUs."""
    gpus = resources.gpu
    return f"torchrun --standalone --nproc-per-node {gpus} -m marscf" if gpus > 1 else "marscf"


OFFLINE = switch("MARSCF_OFFLINE")


# ---- what could not be had, and is looked for again by each call that may find it: params that differ then


def without_inception(wildcards):
    """When Inception's weights were looked for in vain, where a download may succeed now."""
    path = inception.RECORD
    return path.stat().st_mtime if path.is_file() and not OFFLINE else None


def missing_checkpoints(wildcards):
    """When published checkpoints were looked for in vain, where one of them may be found now."""
    path = FOLDER / INDEX
    names = [entry["checkpoint"] for entry in read_json(path)["missing"]] if path.is_file() else []
    store = Store(Path("data/sources"), given("MARSCF_MIRROR"), OFFLINE)
    known = [CONFIG.checkpoints[name] for name in names if name in CONFIG.checkpoints]
    found = any(store.at_hand(checkpoint.name, checkpoint.source) for checkpoint in known)
    return path.stat().st_mtime if found or (names and not OFFLINE) else None


# ---- what a result depends on


def code(stage):
    """The digest of the code behind a stage's numbers, the run's model included, as a function of wildcards."""
    return lambda wildcards: behind(stage, CONFIG.systems[wildcards.system].model)


def dataset_digest(wildcards):
    """The identity of what a dataset's arrays are made from, the user's own images included."""
    dataset = CONFIG.dataset(wildcards.dataset)
    try:
        own = source_digests(dataset)
    except MarscfError as error:  # one that cannot be read: the job says so
        own = {"error": str(error)}
    return digest([recipe(dataset), own])[:16]


def published_entry(wildcards):
    """The identity of a published checkpoint: its file and what it was read as. None before it is fetched."""
    path = RUN.format(**wildcards)
    known = published_runs() if (FOLDER / INDEX).is_file() else []
    return next((digest(entry.to_json())[:16] for entry in known if entry.run == path), None)


def run_hash(wildcards):
    """The identity of a run's config."""
    path = RUN.format(**wildcards)
    return identity(path, TRAINED[path])


def settings(section):
    """The identity of a section of the scale."""
    return digest(section if isinstance(section, (list, dict)) else section.model_dump(mode="json"))[:16]


def extractor(wildcards):
    """The feature extractor's receipt, where it is one that is trained here."""
    fidelity = SCALE.evaluation_on(CONFIG.dataset(wildcards.dataset)).fidelity
    trained = fidelity.extractor == "digits-net"
    return [f"data/extractors/digits-net/{wildcards.dataset}/receipt.json"] * trained


def at_most(number=None):
    """A number of images, or the command line's limit where that is less; None: all images."""
    return min((limit for limit in (number, SELECTION.images) if limit is not None), default=None)


#: The same as an option of the commands.
ONLY = "" if SELECTION.images is None else f"--images {SELECTION.images}"
ONLY_REPORTED = ONLY and f"{ONLY} --report"  # of a measurement, which would be a trial otherwise


def unscored(wildcards):
    """Tells the interpolation study that there is no extractor for its scores."""
    return "--no-scores --report" if plan().scale.evaluation.fidelity.extractor == "none" else ""


def timed_receipts(wildcards=None):
    """Runs that a timing may take weights from: an iterative inverse is as slow as the weights make it."""
    dataset = SCALE.studies.sampling_speed.dataset or SCALE.datasets[0]
    return [f"{run}/receipt.json" for name in plan().timed() for run in plan().run_of(dataset, name)]


def timings(wildcards=None):
    """The file of the sampling speeds, where there is a system to time."""
    return (
        [f"reports/{SCALE.name}/sampling_speed.{kind}" for kind in ("csv", "seal.json")]
        if plan().timed()
        else []
    )


def architectures(wildcards=None):
    """The identity of the models whose sampling is timed: constructors and options, not how they are trained."""
    return settings([[run.model, dict(run.options)] for run in runs().values()])


# ---- the tables and figures of the report, see marscf/reporting/catalogue


def looks(wildcards=None):
    """The identity of the words and colours of `config/` that tables, figures and the page have."""
    systems = [CONFIG.systems[name] for name in dict.fromkeys(config.system for config in runs().values())]
    words = [[each.title, each.order, each.colour, each.in_paper, each.control_of] for each in systems]
    titles = [CONFIG.dataset(name).title for name in DATASETS]
    return settings([words, titles, SCALE.description, SCALE.model_dump(mode="json", include={"figures"})])


def product_files(wildcards=None):
    """All files of the tables and figures."""
    return [file for product in planned(plan()).values() for file in product.outputs(SCALE.name)]


NOTEBOOK = os.path.relpath(os.path.join(workflow.basedir, "workflow", "notebooks", "product.ipynb"))


def measurements(wildcards=None):
    """Every file that `marscf report collect` puts together."""
    compared = judged(plan())
    parts = ["receipt", "likelihood"] + ["as_published"] * SCALE.published
    files = [f"{run}/{part}.json" for run in runs() for part in parts]
    files += [f"{run}/fidelity.json" for run in compared]
    datasets = dict.fromkeys(runs()[run].dataset for run in compared)
    return files + [f"data/runs/{SCALE.name}/{dataset}/floor.json" for dataset in datasets]


def likelihoods(wildcards=None):
    """The likelihood of each test image, a file a run: what systems are compared by."""
    return [f"{run}/likelihood.npz" for run in runs()]


def record_of_inception(wildcards=None):
    """The record that says why there is no FID, where there is none."""
    return [str(inception.RECORD)] if fidelity().extractor != FIDELITY.extractor else []
