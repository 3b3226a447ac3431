"""Guards of `marscf check` that need no reference: a number against its raw scores, its bounds, its files.

Each finds a kind of mistake that is too small, or too good, to be seen as a change: bits/dim over another
number of dimensions, the best draw in place of the mean, a forgotten 1/k, samples that are training images, a
training that ended early, test images that were trained on. They calculate in another way than what they
guard.
"""

import math
from collections.abc import Iterator, Mapping
from functools import cache
from typing import TYPE_CHECKING

import numpy as np

from marscf.config import load_config
from marscf.data.arrays import MANIFEST, open_split, read_manifest
from marscf.evaluation.measured import read_per_image
from marscf.reporting.collect import REAL
from marscf.reporting.metrics import Row, error_of
from marscf.reporting.regression import Cell, K
from marscf.reporting.training_curves import read_records
from marscf.runs import DATASETS, RECEIPT, Run, read_receipt, run_config

if TYPE_CHECKING:
    import pandas

Rows = Mapping[str, Row]  # of one run, by metric
CLOSE = 1e-6  # relative; of two sums of the same float64 numbers


def guards(metrics: "pandas.DataFrame") -> list[Cell]:
    """Return a failing cell for each number of `metrics.csv` that contradicts what it was measured from."""
    runs: dict[Run, dict[str, Row]] = {}
    for row in metrics.to_dict("records"):
        run = Run(row["scale"], row["dataset"], row["system"], row["seed"])
        runs.setdefault(run, {})[row["metric"]] = row
    cells = []
    for run, rows in runs.items():
        floor = runs.get(Run(run.scale, run.dataset, REAL, 0), {})
        if run.system != REAL:
            found = (*_likelihood(run, rows), *_fidelity(rows, floor), *_training(run), *_data(run))
            name = f"{run.dataset}/{run.system}/seed{run.seed}"
            cells += [Cell("wrong", name, metric, "–", "–", why) for metric, why in found]
    return cells


def _likelihood(run: Run, rows: Rows) -> Iterator[tuple[str, str]]:
    """bits/dim against nats, and both against the scores, image by image and draw by draw."""
    if "bits_per_dim" not in rows:
        return
    bits, nats = rows["bits_per_dim"], rows["nats_per_image"]
    dims = load_config().dataset(run.dataset).dimensions
    for column in ("value", "stderr"):
        if not math.isclose(bits[column] * dims * math.log(2), nats[column], rel_tol=CLOSE):
            yield "bits_per_dim", f"its {column} is not nats / (D ln 2) with D = {dims}"
    scores = read_per_image(run.path)
    if scores is None:
        return
    expected = {"bits_per_dim": scores.scores[:, : scores.draws].sum(1) / scores.draws}
    if scores.importance_samples:
        some = scores.scores[:, : scores.importance_samples]
        expected["bits_per_dim_iw"] = np.logaddexp.reduce(some, axis=1) - math.log(some.shape[1])
    for metric, own in expected.items():
        own = own / (-dims * math.log(2))
        n = len(own)
        error = math.sqrt(((own - own.sum() / n) ** 2).sum() / max(n - 1, 1) / n)
        for what, found, right in (
            ("value", rows[metric]["value"], own.sum() / n),
            ("standard error", error_of(rows[metric]) or 0.0, error),
        ):
            if not math.isclose(found, right, rel_tol=CLOSE):
                yield metric, f"its {what} is {found:.6g}, the scores of {n} images give {right:.6g}"
    if "bits_per_dim_iw" in rows and rows["bits_per_dim_iw"]["value"] > bits["value"] * (1 + CLOSE):
        yield "bits_per_dim_iw", "the importance-weighted bound is worse than the bound"


def _fidelity(rows: Rows, floor: Rows) -> Iterator[tuple[str, str]]:
    """Samples against real images of the same number: nothing honest is nearer to the reference."""
    for metric in rows.keys() & floor.keys():
        kind, row, real = metric.partition("[")[0], rows[metric], floor[metric]
        if kind in ("fid", "kid") and row["n"] == real["n"]:
            error = math.hypot(error_of(row) or 0.0, error_of(real) or 0.0)
            if row["value"] < real["value"] - K * error:
                yield metric, f"better than real images, {real['value']:.4g}: are they training images?"
    for metric, row in rows.items():
        if metric.partition("[")[0] in ("precision", "recall") and row["value"] > 1:
            yield metric, "impossible: above 1"


def _training(run: Run) -> Iterator[tuple[str, str]]:
    """The steps of the receipt and of the log against those of the config."""
    receipt = read_receipt(run.path) if (run.path / RECEIPT).is_file() else {}
    if not receipt.get("steps") or receipt.get("imported_from"):
        return
    asked = run_config(run.path).training.steps
    logged = [record["step"] for record in read_records(run.path)]
    for where, steps in (("receipt", receipt["steps"]), ("log", max(logged, default=asked))):
        if steps != asked:
            yield "images_seen", f"its {where} has {steps:,} steps, its config {asked:,}"


def _data(run: Run) -> Iterator[tuple[str, str]]:
    """Test images that are training or validation images too, where the dataset is prepared."""
    if not (DATASETS / run.dataset / MANIFEST).is_file():
        return
    if shared := _shared(run.dataset, read_manifest(run.dataset)["digest"]):
        yield "bits_per_dim", f"{shared} test images of {run.dataset} are training or validation images"


@cache
def _shared(dataset: str, digest: str) -> int:
    seen = {image.tobytes() for split in ("train", "val") for image in open_split(dataset, split)}
    return sum(image.tobytes() in seen for image in open_split(dataset, "test"))
