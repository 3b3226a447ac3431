"""All measurements of a scale in one tidy table, `reports/<scale>/metrics.csv`."""

import csv
import io
import math
from collections import defaultdict
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from marscf import seals
from marscf.config import Config, load_config
from marscf.data.arrays import MANIFEST, read_manifest
from marscf.errors import ConfigError, MarscfError
from marscf.evaluation.measured import read_measurements
from marscf.evaluation.measurements import FIELDS
from marscf.files import replacing, write_json
from marscf.reporting.metrics import COLUMNS, finite, metric_of, qualifier
from marscf.reporting.published import comparable
from marscf.runs import DATASETS, RECEIPT, ROOT, Run, read_receipt, run_config

if TYPE_CHECKING:
    import pandas

MEASUREMENTS = ("likelihood.json", "as_published.json", "fidelity.json")
FLOOR = "floor.json"
REAL = "real"  # the system of a floor: real images against real images


def reports(scale: str) -> Path:
    """The folder of a scale's report."""
    return Path("reports") / scale


def collect(scale: str, runs: Sequence[str], out: Path | None = None) -> Path:
    """Write `metrics.csv` from what the runs' stages left, and return its path.

    It also writes `metrics.json`, for `dvc metrics`: the values without timings, which differ each time. The
    same measurements give the same bytes. Raises `MarscfError` for a number that is not finite, a measurement
    file of another run, and two different values of one metric.
    """
    config = load_config()
    config.scale(scale)
    rows: dict[tuple, dict[str, Any]] = {}
    for row in _all_rows(config, scale, runs):
        key = (row["dataset"], row["system"], row["seed"], row["metric"])
        if (known := rows.setdefault(key, row)) is not row and known["value"] != row["value"]:
            raise MarscfError(
                f"{'/'.join(map(str, key[:3]))}: {key[3]} is {known['value']} and also {row['value']}; "
                "the run's files are of different trainings: measure again"
            )
    order = {name: place for place, name in enumerate([*config.datasets, *config.systems, REAL])}
    text = io.StringIO(newline="")
    table = csv.writer(text, lineterminator="\n")
    table.writerow(COLUMNS)
    nested: dict[str, Any] = {}
    for key in sorted(rows, key=lambda k: (order.get(k[0], 999), order.get(k[1], 999), k[2], _natural(k[3]))):
        table.writerow([_plain(rows[key][column]) for column in COLUMNS])
        dataset, system, seed, metric = key
        if metric_of(metric).better != "none":
            of_run = nested.setdefault(dataset, {}).setdefault(system, {}).setdefault(f"seed{seed}", {})
            of_run[metric] = rows[key]["value"]
    out = out or reports(scale) / "metrics.csv"
    with replacing(out) as temporary:
        temporary.write_text(text.getvalue(), encoding="utf-8")
    write_json(out.with_suffix(".json"), nested)
    seals.seal(out.with_name(seals.METRICS), [out, out.with_suffix(".json")])
    return out


def _natural(metric: str) -> tuple[str, int, str]:
    """Order `sampling_ms[8]` before `sampling_ms[16]`."""
    own = qualifier(metric)
    return metric.partition("[")[0], int(own) if own.isdigit() else 0, own


def _plain(value: Any) -> Any:
    """Floats by `repr`, to the last bit; None as nothing."""
    return repr(value) if isinstance(value, float) else "" if value is None else value


def _all_rows(config: Config, scale: str, runs: Sequence[str]) -> Iterator[dict[str, Any]]:
    datasets = {}
    for path in map(Path, runs):
        run = run_here(path)
        if run.scale != scale:
            raise ConfigError(f"{path} is a run of scale {run.scale}, not of {scale}")
        datasets[run.dataset] = path.parent.parent
        yield from rows_of(run)
    for dataset, folder in datasets.items():
        if (folder / FLOOR).is_file():
            yield from _measured(folder / FLOOR, Run(scale, dataset, REAL, 0))
    speed = reports(scale) / "sampling_speed.csv"
    if speed.is_file():
        unsealed_sweep(speed)
        the_scale = config.scale(scale)
        of = the_scale.studies.sampling_speed.dataset or the_scale.datasets[0]
        selected = {Run.from_path(path).system for path in runs}  # an earlier sweep may be of more
        yield from (row for row in _from_sweep(speed, of, scale) if row["system"] in selected)


def run_here(path: str | Path) -> Run:
    """Return the run of a folder; raises `ConfigError` where that is not in this folder's `data/runs`."""
    run = Run.from_path(path)
    if Path(path).resolve() != run.path.resolve():
        raise ConfigError(f"{path} is not in {ROOT} of this folder; call it in the folder that it is in")
    return run


def rows_of(run: Run) -> Iterator[dict[str, Any]]:
    """Yield a run's numbers as rows of `metrics.csv`, sampling speeds left out; raises as `collect` does."""
    for name in MEASUREMENTS:
        if (run.path / name).is_file():
            yield from _measured(run.path / name, run)
    yield from _from_receipt(run.path / RECEIPT, run)


def _origin(place: Path) -> str:
    """The words of a protocol for imported weights: the file that they were imported from."""
    known = (place.parent / RECEIPT).is_file()
    receipt = read_receipt(place.parent) if known else {}
    if not (origin := receipt.get("imported_from")):
        return ""
    return f", weights imported from {origin}, sha256 {receipt['imported_sha256'][:16]}"


def _release(dataset: str) -> str:
    """The words of a protocol for a dataset with several releases: which one it is."""
    prepared = (DATASETS / dataset / MANIFEST).is_file()
    release = read_manifest(dataset)["release"] if prepared else None
    return f", release {release}" if release else ""


def _row(
    run: Run, metric: str, value: float, stderr: float | None, n: int, protocol: str, place: Path
) -> dict:
    metric_of(metric, str(place))  # an error where it is not declared
    protocol += _origin(place) + _release(run.dataset)
    row = {
        **{"scale": run.scale, "dataset": run.dataset, "system": run.system, "seed": run.seed},
        **{"metric": metric, "value": finite(metric, value, str(place))},
        "stderr": None if stderr is None else finite(f"the standard error of {metric}", stderr, str(place)),
        **{"n": int(n), "protocol": protocol, "published": None, "published_source": None},
    }
    if entry := comparable(row):
        row |= {"published": entry.value, "published_source": entry.source}
    return row


def _measured(path: Path, run: Run) -> Iterator[dict[str, Any]]:
    found = {}
    for entry in read_measurements(path, run):
        metric, value, stderr, n, protocol = (entry[key] for key in FIELDS)
        found[metric] = _row(run, metric, value, stderr, n, protocol, path)
    yield from found.values()
    if {"bits_per_dim", "bits_per_dim_train"} <= found.keys():
        test, train = found["bits_per_dim"], found["bits_per_dim_train"]
        error = math.hypot(test["stderr"] or 0.0, train["stderr"] or 0.0)
        n, protocol = train["n"], f"bits/dim of the test images less that of {train['n']} training images"
        yield _row(run, "generalisation_gap", test["value"] - train["value"], error, n, protocol, path)


def _from_receipt(path: Path, run: Run) -> Iterator[dict[str, Any]]:
    receipt = read_receipt(path.parent)
    if receipt.get("parameters") is not None:
        yield _row(run, "parameters", receipt["parameters"], None, 1, "trainable numbers", path)
    on = device(receipt.get("host") or {})
    if receipt.get("steps"):
        batch = run_config(path.parent).training.batch_size
        yield _row(
            run, "images_seen", receipt["steps"] * batch, None, receipt["steps"], "steps × batch", path
        )
    if minutes := training_minutes(receipt):
        yield _row(run, "train_minutes", minutes[0], None, receipt["steps"], f"{minutes[1]}, {on}", path)
    if receipt.get("train_images_per_second"):
        speed = receipt["train_images_per_second"]
        yield _row(run, "train_images_per_second", speed, None, receipt["steps"], f"on {on}", path)


def training_minutes(receipt: dict[str, Any]) -> tuple[float, str] | None:
    """How many minutes a run was trained, and by which clock; None where nothing was trained.

    On a CPU it is processor time, because the machine may be shared.
    """
    if not receipt.get("steps"):
        return None
    on_gpu = (receipt.get("host") or {}).get("gpu")
    clocks = {"seconds": "clock"} if on_gpu else {"cpu_seconds": "processor time", "seconds": "clock"}
    return next(((receipt[key] / 60, words) for key, words in clocks.items() if receipt.get(key)), None)


def device(host: dict[str, Any]) -> str:
    """What a receipt's run was trained on, in words."""
    threads = host.get("threads", "?")
    return host.get("gpu") or f"{host.get('cpu', 'unknown CPU')}, {threads} thread{'s' * (threads != 1)}"


def unsealed_sweep(path: Path) -> Path:
    """Return the path of a scale's sampling speeds, or of their record, where it is as it was written."""
    again = f"marscf study sampling-speed --scale {path.parent.name}"
    return seals.unsealed(path, again, seals.SWEEP)


def _from_sweep(path: Path, dataset: str, scale: str) -> Iterator[dict[str, Any]]:
    times: dict[tuple[str, int], list[dict[str, str]]] = defaultdict(list)
    with open(path, newline="", encoding="utf-8") as stream:
        for line in csv.DictReader(stream):
            times[line["system"], int(line["image_size"])].append(line)
    for (system, side), lines in times.items():
        run, one = Run(scale, dataset, system, 0), lines[0]
        milliseconds = [float(line["milliseconds"]) for line in lines]
        mean, n = sum(milliseconds) / len(lines), len(lines)
        error = math.sqrt(sum((m - mean) ** 2 for m in milliseconds) / (n - 1) / n) if n > 1 else None
        shape = f"{one['batch_size']} images of {one['channels']}×{side}×{side}"
        yield _row(run, f"sampling_ms[{side}]", mean, error, n, f"{shape}, {one['device']}", path)
        steps = int(one["sequential_steps"])
        yield _row(run, f"sequential_steps[{side}]", steps, None, 1, f"counted, {shape}", path)


def read_metrics(path: str | Path) -> "pandas.DataFrame":
    """Read a `metrics.csv`.

    Raises `MarscfError` where it is missing, has other columns, NaN, or a metric that is not declared.
    """
    import pandas

    path = Path(path)
    if not path.is_file():
        raise MarscfError(f"no {path}; make it with: marscf report collect")
    if path.with_name(seals.METRICS).is_file():  # a reference has none: it is in git
        seals.unsealed(path, f"marscf report collect --scale {path.parent.name}", seals.METRICS)
    frame = pandas.read_csv(
        path, dtype={"protocol": str, "published_source": str}, float_precision="round_trip"
    )
    if list(frame.columns) != COLUMNS:
        raise MarscfError(f"{path}: columns {', '.join(frame.columns)}; expected {', '.join(COLUMNS)}")
    for row in frame.to_dict("records"):
        metric_of(row["metric"], str(path))
        finite(f"{row['metric']} of {row['system']} on {row['dataset']}", row["value"], str(path))
    text = ["protocol", "published_source"]
    frame[text] = frame[text].fillna("")
    return frame
