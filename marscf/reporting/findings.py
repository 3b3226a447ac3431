"""The claims of the paper, each checked against the measurements of a scale.

A system's number is the mean over its seeds, never the best of them. A claim between systems is decided over
seeds and test images (`marscf.reporting.significance`); with one seed it is not decided. The texts have links
in Markdown, `[2.32](#run-digits-glow-seed0)`: each number to its place on the page. `plain` removes them.
"""

import re
import statistics
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

import numpy as np

from marscf.reporting import sources
from marscf.reporting.catalogue.product import SWEEP
from marscf.reporting.collect import REAL, reports
from marscf.reporting.metrics import error_of, pretty, title
from marscf.reporting.path_findings import of_paths
from marscf.reporting.published import imported
from marscf.reporting.significance import SEEDS, difference, missing
from marscf.reporting.speed import SWEEP_PLACE, read_sweep
from marscf.reporting.tables import anchor

if TYPE_CHECKING:
    import pandas

ALIKE = 0.05  # a difference in parameters, as a share, below which there are as many
HEADLINE = ("marscf-mixlogcdf", "marscf-affine")  # the first of these is in the headline, whatever its value

#: A finding's verdict, and as printed.
VERDICTS = {
    "holds": "holds",
    "fails": "does not hold here",
    "open": "within noise",
    "one-seed": "one seed",
    "two-seeds": "two seeds",
    "unmeasured": "not measured",
}


@dataclass(frozen=True)
class Finding:
    """A claim; its verdict, a key of `VERDICTS`; the evidence; what the verdict stands on, in few words."""

    claim: str
    verdict: str
    evidence: str
    strength: str = ""

    @property
    def words(self) -> str:
        """The verdict as printed."""
        return VERDICTS[self.verdict]


def plain(text: str) -> str:
    """A text without its links."""
    return re.sub(r"\[([^][]*)\]\(#[^)]*\)", r"\1", text)


def _rows(metrics: "pandas.DataFrame", metric: str, dataset: str) -> dict[str, list[dict[str, Any]]]:
    """A metric's rows on a dataset by system, one row per seed, whatever it was measured with.

    Imported weights are not seeds: of several files of a system the first stands for it.
    """
    chosen = metrics[metrics["metric"].str.partition("[")[0].eq(metric) & metrics["dataset"].eq(dataset)]
    found = {}
    for system, rows in chosen.groupby("system", sort=False):
        records = rows[rows["metric"] == rows["metric"].iloc[0]].to_dict("records")
        found[str(system)] = records[:1] if imported(records[0]) else records
    return found


def _mean(rows: Sequence[dict[str, Any]]) -> float:
    return statistics.fmean(row["value"] for row in rows)


def _number(rows: Sequence[dict[str, Any]], unit: str = "") -> str:
    """A value ± its own error as a link to its run; of several seeds their mean, with a link for each."""
    row = rows[0]
    if len(rows) == 1:
        return f"[{pretty(row['metric'], row['value'], error_of(row))}{unit}](#{anchor(row)})"
    text = pretty(row["metric"], _mean(rows), statistics.stdev(row["value"] for row in rows)) + unit
    of = ", ".join(f"[{row['seed']}](#{anchor(row)})" for row in rows)
    return f"{text} (mean ± standard deviation of seeds {of})"


def _compared(
    claim: str, first: Sequence[dict] | None, second: Sequence[dict] | None, *, counted: bool = False
) -> Finding:
    """Whether the first system is better than the second; see `difference`."""
    if not first or not second:
        return Finding(claim, "unmeasured", "not both were measured")
    metric = first[0]["metric"]
    if metric != second[0]["metric"]:
        return Finding(
            claim, "unmeasured", f"{title(metric)} of one, {title(second[0]['metric'])} of the other"
        )
    numbers = (f"{sources.system_title(rows[0]['system'])} {_number(rows)}" for rows in (first, second))
    place = sources.dataset_title(first[0]["dataset"])
    evidence = f"{title(metric)} on {place}: {' against '.join(numbers)}"
    if metric == "bits_per_dim" and (run := missing([*first, *second])):
        why = f"`{run}` has no likelihood of each test image; measure it again"
        return Finding(claim, "unmeasured", f"{evidence}; {why}")
    found = difference(first, second, counted=counted)
    amount = pretty(metric, abs(found.gain), found.error)
    images = f"{found.images:,} test images, image by image" if found.images else "the measurement"
    how = f"standard error over {images}, and over seeds; 95 % within ± {found.reach:.2g}"
    if found.seeds == 1:
        how = f"the error is only of {images}; another seed may change more"
    elif found.seeds < SEEDS:
        how += f"; a claim needs {SEEDS} seeds"
    gain = f"{'better' if found.gain >= 0 else 'worse'} by {amount} ({how})"
    strength = f"{found.seeds} seeds" if found.seeds >= SEEDS else ""  # else the verdict says it
    return Finding(claim, found.verdict, f"{evidence}; {gain}", strength)


#: What tells whether a comparison is fair: metric -> its words.
COSTS = {
    "parameters": "parameters",
    "train_minutes": "minutes of training",
    "images_seen": "images seen in training",
}

#: (claim, metric, the system that it says is better, the other system)
COMPARISONS = [
    (
        "A mAR prior gives a better likelihood than Glow's Gaussian prior, with the same couplings.",
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

#: As above, all in bits/dim, of systems that the paper does not have. Left out where they were not measured.
CONTROLLED = [  # these two say that parameters and images are equal, and are not decided where they are not
    (
        "With affine couplings, and as many parameters and images, a mAR prior gives a better likelihood "
        "than a Gaussian prior (our own question, not the paper's).",
        *("bits_per_dim", "marscf-affine", "gaussian-affine"),
    ),
    (
        "With MixLogCDF couplings, and as many parameters and images, a mAR prior gives a better likelihood "
        "than a Gaussian prior (our own question, not the paper's).",
        *("bits_per_dim", "marscf-mixlogcdf", "gaussian-mixlogcdf"),
    ),
]
OUR_COMPARISONS = [
    *CONTROLLED,
    (
        "Beside learned dequantisation too, a mAR prior gives a better likelihood than a Gaussian prior "
        "(our own question, not the paper's).",
        *("bits_per_dim", "marscf-vardeq", "gaussian-vardeq"),
    ),
    (
        "Learned dequantisation gives mAR-SCF a better likelihood (our own question, not the paper's).",
        *("bits_per_dim", "marscf-vardeq", "marscf-mixlogcdf"),
    ),
]


def findings(metrics: "pandas.DataFrame", scale: str) -> list[Finding]:
    """Check the paper's claims, for each dataset where they are about datasets."""
    found = []
    for dataset in dict.fromkeys(metrics.loc[metrics["metric"] == "bits_per_dim", "dataset"]):
        bits = _rows(metrics, "bits_per_dim", dataset)
        ours = [comparison for comparison in OUR_COMPARISONS if {*comparison[2:]} <= bits.keys()]
        for claim, metric, winner, loser in [*COMPARISONS, *ours]:
            by_system = _rows(metrics, metric, dataset)
            finding = _compared(claim, by_system.get(winner), by_system.get(loser))
            if (claim, metric, winner, loser) in CONTROLLED and not _alike(metrics, dataset, winner, loser):
                finding = Finding(claim, "unmeasured", "the two have not as many parameters and images")
            if finding.verdict != "unmeasured":
                finding = replace(finding, evidence=finding.evidence + _cost(metrics, dataset, winner, loser))
            found.append(finding)
        if "histogram" in bits:
            found.append(_all_beat(bits, bits["histogram"]))
    systems = set(metrics["system"])  # the files of the sweep and of the studies may be of more
    paths = (Finding(*path, "one run") for path in of_paths(scale, systems))
    return [*found, *_of_sweep(scale, systems), *paths]


def _alike(metrics: "pandas.DataFrame", dataset: str, *systems: str) -> bool:
    """Whether systems have as many parameters, within `ALIKE`, and saw as many images."""
    for metric, apart in (("parameters", ALIKE), ("images_seen", 0.0)):
        rows = _rows(metrics, metric, dataset)
        values = [_mean(rows[system]) for system in systems if system in rows]
        if len(values) < len(systems) or max(values) > min(values) * (1 + apart):
            return False
    return True


def _cost(metrics: "pandas.DataFrame", dataset: str, *systems: str) -> str:
    """What two systems took, which tells whether the comparison is fair."""
    text = ""
    for metric, words in COSTS.items():
        rows = _rows(metrics, metric, dataset)
        if all(system in rows for system in systems):
            values = " against ".join(pretty(metric, _mean(rows[system])) for system in systems)
            text += f"; {values} {words}"
    return text


def _all_beat(bits: dict[str, list[dict]], least: list[dict]) -> Finding:
    """Whether the worst of the other systems is better than the histogram, which has no seeds."""
    claim = "Every system is better than a histogram of each pixel (our own check, not the paper's)."
    rest = [rows for name, rows in bits.items() if name not in ("histogram", REAL)]
    if not rest:
        return Finding(claim, "unmeasured", "nothing else was measured")
    losers = [sources.system_title(rows[0]["system"]) for rows in rest if _mean(rows) >= _mean(least)]
    finding = _compared(claim, max(rest, key=_mean), least, counted=True)
    which = f"not better: {', '.join(losers)}" if losers else f"the worst of {len(rest)} systems is shown"
    return replace(finding, evidence=f"{finding.evidence}; {which}")


def _of_sweep(scale: str, systems: set[str]) -> list[Finding]:
    linear = "mAR-SCF's sequential steps grow in proportion to the image's side, O(N)."
    faster = "mAR-SCF samples faster than PixelCNN, and its lead grows with the image."
    path = reports(scale) / SWEEP
    if not path.is_file():
        return [Finding(claim, "unmeasured", "no sampling-speed sweep") for claim in (linear, faster)]
    sweep = read_sweep(path)
    sweep = sweep[sweep["system"].isin(systems)]
    return [_linear(linear, sweep), _faster(faster, sweep)]


def _linear(claim: str, sweep: "pandas.DataFrame") -> Finding:
    """Whether counted steps lie on a line a·N + b. A power law fits such a line badly at small N."""
    evidence, holds = [], True
    for system in dict.fromkeys(sweep["system"]):
        steps = sweep[sweep["system"] == system].groupby("image_size")["sequential_steps"].first()
        if not system.startswith("marscf") or len(steps) < 3:
            continue
        slope, offset = np.polyfit(steps.index, steps.to_numpy(), 1)
        misfit = np.abs(slope * steps.index + offset - steps.to_numpy()).max()
        holds = holds and misfit < 0.01 * steps.max()
        line = f"{slope:.2f}·N {'+' if offset > 0 else '−'} {abs(offset):.0f}"
        evidence.append(f"[{line}](#{SWEEP_PLACE}) ({sources.system_title(system)})")
    if not evidence:
        return Finding(claim, "unmeasured", "no mAR-SCF at three sides or more")
    return Finding(claim, "holds" if holds else "fails", f"counted steps: {', '.join(evidence)}", "counted")


def _faster(claim: str, sweep: "pandas.DataFrame") -> Finding:
    ours, theirs = ("marscf-mixlogcdf", "pixelcnn")
    mean = sweep.groupby(["system", "image_size"])["milliseconds"].mean()
    if sweep.empty or ours not in mean or theirs not in mean:
        return Finding(claim, "unmeasured", "not both were timed")
    sides = sorted(set(mean[ours].index) & set(mean[theirs].index))
    if len(sides) < 2:
        return Finding(claim, "unmeasured", "not both were timed at two sides or more")
    ratio = [mean[theirs][side] / mean[ours][side] for side in sides]
    text = ", ".join(
        f"[{value:.2g}×](#{SWEEP_PLACE}) at N = {side}" for side, value in zip(sides, ratio, strict=True)
    )
    holds = ratio[-1] > 1 and ratio[-1] == max(ratio)
    device = sweep["device"].iloc[0]
    names = " divided by that of ".join(sources.system_title(name) for name in (theirs, ours))
    verdict = "holds" if holds else "fails"
    return Finding(claim, verdict, f"time of {names}: {text} ({device})", "one machine")


def headlines(metrics: "pandas.DataFrame", scale: str, found: list[Finding]) -> list[str]:
    """Three lines that sum up: the likelihood of mAR-SCF, the claims, the sampling."""
    datasets = dict.fromkeys(metrics.loc[metrics["metric"] == "bits_per_dim", "dataset"])
    numbers = [_likelihood(_rows(metrics, "bits_per_dim", dataset)) for dataset in datasets]
    first = f"Scale {scale}: {'; '.join(numbers) or 'no likelihood was measured'}."

    verdicts = Counter(finding.words for finding in found)
    counts = ", ".join(f"{words} {verdicts[words]}" for words in VERDICTS.values())
    second = f"{len(found)} claims checked: {counts}."
    speed = next((f for f in found if f.claim.startswith("mAR-SCF samples faster")), None)
    third = f"Sampling: {speed.evidence}." if speed else "Sampling: no sweep."
    return [first, second, third]


def _likelihood(bits: dict[str, list[dict[str, Any]]]) -> str:
    """Bits/dim of the paper's own system on a dataset, or of the next one that was measured."""
    name = next((name for name in HEADLINE if name in bits), next(iter(bits)))
    rows = bits[name]
    seed = "" if imported(rows[0]) else "; one seed"
    return (
        f"{sources.system_title(name)} on {sources.dataset_title(rows[0]['dataset'])}: "
        f"{_number(rows, ' bits/dim')} on {rows[0]['n']:,} test images"
        f"{f' (± standard error over them{seed})' if len(rows) == 1 else ''}"
    )
