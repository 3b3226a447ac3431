"""What holds of the paper at a scale: its claims, each checked against the measurements."""

import math
from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

import numpy as np

from marscf.config import load_config
from marscf.errors import MarscfError
from marscf.reporting import sources
from marscf.reporting.collect import REAL
from marscf.reporting.interpolation import read_scores
from marscf.reporting.metrics import metric_of, pretty, title
from marscf.reporting.speed import read_sweep
from marscf.runs import Run

if TYPE_CHECKING:
    import pandas

CONFIDENT = 2.0  # standard errors of a difference


@dataclass(frozen=True)
class Finding:
    """A claim; that it `holds`, `fails`, is `open` (within noise) or was `unmeasured`; the evidence."""

    claim: str
    verdict: str
    evidence: str


def _rows(metrics: "pandas.DataFrame", metric: str, dataset: str) -> dict[str, dict[str, Any]]:
    """The first seed's rows of a metric on a dataset by system, whatever it was measured with."""
    chosen = metrics[metrics["metric"].str.partition("[")[0].eq(metric) & metrics["dataset"].eq(dataset)]
    return {row["system"]: row for row in reversed(chosen.to_dict("records"))}


def _better(
    claim: str, winner: dict | None, loser: dict | None, names: tuple[str, str] | None = None
) -> Finding:
    """Whether `winner` is better than `loser`, by more than their errors leave to chance.

    `names` are what the two are called, their systems where not given.
    """
    if winner is None or loser is None:
        return Finding(claim, "unmeasured", "not both were measured")
    name = winner["metric"]
    sign = -1 if metric_of(name).better == "higher" else 1
    gain = sign * (loser["value"] - winner["value"])
    errors = [row["stderr"] for row in (winner, loser) if row["stderr"] == row["stderr"]]
    noise = CONFIDENT * math.hypot(*errors) if errors else 0.0
    verdict = "holds" if gain > noise else "fails" if gain < -noise else "open"
    names = names or tuple(sources.system_title(row["system"]) for row in (winner, loser))
    numbers = (
        f"{pretty(name, row['value'], row['stderr'] if row['stderr'] == row['stderr'] else None)} ({called})"
        for row, called in zip((winner, loser), names, strict=True)
    )
    place = sources.dataset_title(winner["dataset"])
    return Finding(claim, verdict, f"{title(name)} on {place}: {' against '.join(numbers)}")


#: (claim, metric, the system that it says is better, than which)
COMPARISONS = [
    (
        "A mAR prior gives a better likelihood than Glow's Gaussian one, couplings alike.",
        *("bits_per_dim", "marscf-affine", "glow"),
    ),
    (
        "MixLogCDF couplings give a better likelihood than affine ones.",
        *("bits_per_dim", "marscf-mixlogcdf", "marscf-affine"),
    ),
    (
        "mAR-SCF has a better likelihood than Residual Flow.",
        *("bits_per_dim", "marscf-mixlogcdf", "residual-flow"),
    ),
    (
        "mAR-SCF's samples have a lower FID than Residual Flow's.",
        *("fid", "marscf-mixlogcdf", "residual-flow"),
    ),
]


def findings(metrics: "pandas.DataFrame", scale: str) -> list[Finding]:
    """Check the paper's claims, dataset by dataset where they are about datasets."""
    found = []
    for dataset in dict.fromkeys(metrics.loc[metrics["metric"] == "bits_per_dim", "dataset"]):
        for claim, metric, winner, loser in COMPARISONS:
            by_system = _rows(metrics, metric, dataset)
            finding = _better(claim, by_system.get(winner), by_system.get(loser))
            if metric == "bits_per_dim" and finding.verdict != "unmeasured":
                finding = replace(finding, evidence=finding.evidence + _cost(metrics, dataset, winner, loser))
            found.append(finding)
        bits = _rows(metrics, "bits_per_dim", dataset)
        if "histogram" in bits:
            found.append(_all_beat(bits, bits["histogram"]))
    return [*found, *_of_sweep(scale), *_of_paths(scale)]


def _cost(metrics: "pandas.DataFrame", dataset: str, *systems: str) -> str:
    """What two systems took: whether a comparison is a fair one."""
    text = ""
    for metric, words in (("parameters", "parameters"), ("train_minutes", "minutes of training")):
        rows = _rows(metrics, metric, dataset)
        if all(system in rows for system in systems):
            values = " against ".join(pretty(metric, rows[system]["value"]) for system in systems)
            text += f"; {values} {words}"
    return text


def _all_beat(bits: dict[str, dict], least: dict) -> Finding:
    claim = "Every system beats an independent histogram of each pixel (our own check, not the paper's)."
    rest = [row for name, row in bits.items() if name not in ("histogram", REAL)]
    losers = [sources.system_title(row["system"]) for row in rest if row["value"] >= least["value"]]
    evidence = f"the histogram has {pretty('bits_per_dim', least['value'], least['stderr'])} bits/dim"
    if losers:
        return Finding(claim, "fails", f"{evidence}; {', '.join(losers)} do not beat it")
    worst = max(rest, key=lambda row: row["value"], default=None)
    if worst is None:
        return Finding(claim, "unmeasured", "nothing else was measured")
    number = pretty("bits_per_dim", worst["value"], worst["stderr"])
    return Finding(claim, "holds", f"{evidence}, the worst of {len(rest)} systems {number}")


def _of_sweep(scale: str) -> list[Finding]:
    linear = "mAR-SCF's sequential steps grow in proportion to the image's side, O(N)."
    faster = "mAR-SCF samples faster than PixelCNN, and the more so the larger the image."
    try:
        sweep = read_sweep(scale)
    except MarscfError:
        return [Finding(claim, "unmeasured", "no sampling-speed sweep") for claim in (linear, faster)]
    return [_linear(linear, sweep), _faster(faster, sweep)]


def _linear(claim: str, sweep: "pandas.DataFrame") -> Finding:
    """Whether counted steps lie on a line a·N + b (a power law fits that badly at small N)."""
    evidence, holds = [], True
    for system in dict.fromkeys(sweep["system"]):
        steps = sweep[sweep["system"] == system].groupby("image_size")["sequential_steps"].first()
        if not system.startswith("marscf") or len(steps) < 3:
            continue
        slope, offset = np.polyfit(steps.index, steps.to_numpy(), 1)
        misfit = np.abs(slope * steps.index + offset - steps.to_numpy()).max()
        holds = holds and misfit < 0.01 * steps.max()
        evidence.append(
            f"{slope:.2f}·N {'+' if offset > 0 else '−'} {abs(offset):.0f} ({sources.system_title(system)})"
        )
    if not evidence:
        return Finding(claim, "unmeasured", "no mAR-SCF at three sides or more")
    return Finding(claim, "holds" if holds else "fails", f"counted steps: {', '.join(evidence)}")


def _faster(claim: str, sweep: "pandas.DataFrame") -> Finding:
    ours, theirs = ("marscf-mixlogcdf", "pixelcnn")
    mean = sweep.groupby(["system", "image_size"])["milliseconds"].mean()
    if ours not in mean or theirs not in mean:
        return Finding(claim, "unmeasured", "not both were timed")
    sides = sorted(set(mean[ours].index) & set(mean[theirs].index))
    ratio = [mean[theirs][side] / mean[ours][side] for side in sides]
    text = ", ".join(f"{value:.2g}× at N = {side}" for side, value in zip(sides, ratio, strict=True))
    holds = ratio and ratio[-1] > 1 and ratio[-1] == max(ratio)
    device = sweep["device"].iloc[0]
    return Finding(
        claim, "holds" if holds else "fails", f"PixelCNN's time over mAR-SCF (MixLogCDF)'s: {text} ({device})"
    )


def _of_paths(scale: str) -> Iterator[Finding]:
    """Whether the paper's interpolation has the better Inception score halfway, a study at a time."""
    claim = "Halfway between two images the paper's path has a better Inception score than the straight line."
    config = load_config()
    for study in config.scale(scale).studies.interpolation:
        run = Run(scale, study.dataset, study.system, config.seeds(scale, study.system)[0])
        try:
            scores = read_scores(str(run.path))
        except MarscfError:
            continue
        halfway = scores[(scores["t"] - 0.5).abs() == (scores["t"] - 0.5).abs().min()]
        rows = {row["method"]: row for row in halfway.to_dict("records")}
        if {"ours", "linear"} <= rows.keys():
            ours, linear = ({**vars(run), **rows[method]} for method in ("ours", "linear"))
            yield _better(claim, ours, linear, ("moved", "straight"))


def headlines(metrics: "pandas.DataFrame", scale: str, found: list[Finding]) -> list[str]:
    """Three lines to end with: the best likelihood of mAR-SCF, the claims, the sampling."""
    rows = metrics[metrics["metric"] == "bits_per_dim"]
    if rows.empty:
        first = f"Scale {scale}: no likelihood was measured."
    else:
        ours = rows[rows["system"].str.startswith("marscf")]
        best = (rows if ours.empty else ours).sort_values("value").iloc[0]
        number = pretty("bits_per_dim", best["value"], best["stderr"])
        first = (
            f"{sources.system_title(best['system'])} on {sources.dataset_title(best['dataset'])}: "
            f"{number} bits/dim on {best['n']:,} test images (scale {scale})."
        )

    def count(verdict: str) -> int:
        return sum(finding.verdict == verdict for finding in found)

    second = (
        f"{len(found)} claims checked: hold {count('holds')}, do not hold here {count('fails')}, "
        f"within noise {count('open')}, not measured {count('unmeasured')}."
    )
    speed = next((f for f in found if f.claim.startswith("mAR-SCF samples faster")), None)
    third = f"Sampling: {speed.evidence}." if speed else "Sampling: no sweep."
    return [first, second, third]
