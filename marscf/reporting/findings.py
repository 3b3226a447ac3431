"""What holds of the paper at a scale: its claims, each checked against the measurements.

A system's number is the mean over its seeds, never the best of them. The texts hold links as Markdown does,
`[2.32](#run-digits-glow-seed0)`: each number to its place on the page; `plain` takes them out.
"""

import math
import re
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

import numpy as np

from marscf.errors import MarscfError
from marscf.reporting import sources
from marscf.reporting.collect import REAL
from marscf.reporting.metrics import metric_of, pretty, title
from marscf.reporting.path_findings import of_paths
from marscf.reporting.speed import SWEEP, read_sweep
from marscf.reporting.tables import anchor

if TYPE_CHECKING:
    import pandas

CONFIDENT = 2.0  # standard errors of a difference
HEADLINE = ("marscf-mixlogcdf", "marscf-affine")  # whose likelihood is said first; never chosen by its value


@dataclass(frozen=True)
class Finding:
    """A claim; that it `holds`, `fails`, is `open` (within noise) or was `unmeasured`; the evidence."""

    claim: str
    verdict: str
    evidence: str


def plain(text: str) -> str:
    """A text without its links."""
    return re.sub(r"\[([^][]*)\]\(#[^)]*\)", r"\1", text)


def _rows(metrics: "pandas.DataFrame", metric: str, dataset: str) -> dict[str, dict[str, Any]]:
    """A metric's rows on a dataset by system, whatever it was measured with, each the mean over `seeds`.

    Of several seeds `spread` is the standard deviation, and `stderr` the mean's: the seeds' share, and the
    single numbers' own, which the mean does not lessen as all seeds are measured on the same images.
    """
    chosen = metrics[metrics["metric"].str.partition("[")[0].eq(metric) & metrics["dataset"].eq(dataset)]
    found = {}
    for system, rows in chosen.groupby("system", sort=False):
        rows = rows[rows["metric"] == rows["metric"].iloc[0]]
        row = {**rows.iloc[0].to_dict(), "seeds": list(rows["seed"]), "spread": rows["value"].std()}
        if len(rows) > 1:
            own = rows["stderr"].fillna(0.0).mean()
            row |= {"value": rows["value"].mean(), "stderr": math.hypot(rows["value"].sem(), own)}
        found[system] = row
    return found


def _number(row: dict[str, Any], unit: str = "", error: str = "stderr") -> str:
    """A row's value ± `error` as a link to its run, or with a link for each of its seeds."""
    text = pretty(row["metric"], row["value"], row[error] if row[error] == row[error] else None) + unit
    seeds = row.get("seeds", [row["seed"]])
    if len(seeds) == 1:
        return f"[{text}](#{anchor(row)})"
    of = ", ".join(f"[{seed}](#{anchor({**row, 'seed': seed})})" for seed in seeds)
    kind = "standard error" if error == "stderr" else "standard deviation"
    return f"{text} (mean ± {kind} of seeds {of})"


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
    numbers = (f"{called} {_number(row)}" for row, called in zip((winner, loser), names, strict=True))
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
    return [*found, *_of_sweep(scale), *(Finding(*path) for path in of_paths(scale))]


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
    evidence = f"the histogram has {_number(least)} bits/dim"
    if losers:
        return Finding(claim, "fails", f"{evidence}; {', '.join(losers)} do not beat it")
    worst = max(rest, key=lambda row: row["value"], default=None)
    if worst is None:
        return Finding(claim, "unmeasured", "nothing else was measured")
    last = f"the worst of {len(rest)} systems, {sources.system_title(worst['system'])}, {_number(worst)}"
    return Finding(claim, "holds", f"{evidence}, {last}")


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
        line = f"{slope:.2f}·N {'+' if offset > 0 else '−'} {abs(offset):.0f}"
        evidence.append(f"[{line}](#{SWEEP}) ({sources.system_title(system)})")
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
    text = ", ".join(
        f"[{value:.2g}×](#{SWEEP}) at N = {side}" for side, value in zip(sides, ratio, strict=True)
    )
    holds = ratio and ratio[-1] > 1 and ratio[-1] == max(ratio)
    device = sweep["device"].iloc[0]
    return Finding(
        claim, "holds" if holds else "fails", f"PixelCNN's time over mAR-SCF (MixLogCDF)'s: {text} ({device})"
    )


def headlines(metrics: "pandas.DataFrame", scale: str, found: list[Finding]) -> list[str]:
    """Three lines to end with: the likelihood of mAR-SCF, the claims, the sampling."""
    datasets = dict.fromkeys(metrics.loc[metrics["metric"] == "bits_per_dim", "dataset"])
    numbers = [_likelihood(_rows(metrics, "bits_per_dim", dataset)) for dataset in datasets]
    first = f"Scale {scale}: {'; '.join(numbers) or 'no likelihood was measured'}."

    def count(verdict: str) -> int:
        return sum(finding.verdict == verdict for finding in found)

    second = (
        f"{len(found)} claims checked: hold {count('holds')}, do not hold here {count('fails')}, "
        f"within noise {count('open')}, not measured {count('unmeasured')}."
    )
    speed = next((f for f in found if f.claim.startswith("mAR-SCF samples faster")), None)
    third = f"Sampling: {speed.evidence}." if speed else "Sampling: no sweep."
    return [first, second, third]


def _likelihood(bits: dict[str, dict[str, Any]]) -> str:
    """Bits/dim of the paper's own system on a dataset, or of the next that is there: chosen by name."""
    name = next((name for name in HEADLINE if name in bits), next(iter(bits)))
    row = bits[name]
    several = len(row["seeds"]) > 1
    number = _number(row, " bits/dim", "spread" if several else "stderr")
    return (
        f"{sources.system_title(name)} on {sources.dataset_title(row['dataset'])}: {number} on "
        f"{row['n']:,} test images{'' if several else ' (± standard error over them)'}"
    )
