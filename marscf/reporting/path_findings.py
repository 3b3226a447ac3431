"""Whether the premise of the interpolation holds, in our reading of the method, and whether it helps."""

import math
from collections.abc import Collection, Iterator
from typing import TYPE_CHECKING

from marscf.config import load_config
from marscf.reporting import sources
from marscf.reporting.interpolation import FILES, LINE, Drawn, read_paths, read_points, read_scores
from marscf.reporting.interpolation_table import densities, standard_error
from marscf.reporting.metrics import pretty, rounded, title
from marscf.reporting.tables import anchor
from marscf.runs import Run

if TYPE_CHECKING:
    import pandas

CONFIDENT = 2.0  # standard errors
PREMISE = (
    "The straight line between two images' latents leaves the dense regions: its log p(z) is below that of "
    "the real images at its ends (the premise of the interpolation, in our reading)."
)
BETTER = (
    "Halfway between two images the moved points have a better Inception score than the straight line (our "
    "reading of the method)."
)


def of_paths(scale: str, systems: Collection[str]) -> Iterator[tuple[str, str, str]]:
    """Yield claim, verdict and evidence of each interpolation study of these systems that was made."""
    config = load_config()
    for study in config.scale(scale).studies.interpolation:
        if study.system not in systems:
            continue
        run = Run(scale, study.dataset, study.system, config.seeds(scale, study.system)[0])
        folder = str(run.path)
        if not all((run.path / name).is_file() for name in FILES):
            continue
        points, scores, drawn = read_points(folder), read_scores(folder), read_paths(folder)
        name = f"{sources.system_title(run.system)} on {sources.dataset_title(run.dataset)}"
        where = f"[{name}](#{anchor(vars(run))})"
        points = densities(points)
        verdict, evidence = _premise(points[points["split"] == "test"])
        yield PREMISE, verdict, f"{where}, {evidence}"
        if not scores.empty:
            better, evidence = _better(points, scores, drawn, verdict)
            yield BETTER, better, f"{where}, {evidence}"


def _verdict(gain: float, error: float) -> str:
    noise = CONFIDENT * error if math.isfinite(error) else 0.0
    return "holds" if gain > noise else "fails" if gain < -noise else "open"


def _premise(points: "pandas.DataFrame") -> tuple[str, str]:
    """Verdict and evidence on log p(z) of real ends, straight line and moved points, pair by pair."""
    line = points["lambda"] == LINE
    groups = (points[line & points["real"]], points[line & ~points["real"]], points[~line & ~points["real"]])
    means = [rows.groupby("pair")["log_prob_latent"].mean() for rows in groups]
    ends, straight, moved = (rounded(float(mean.mean()), standard_error(mean)) for mean in means)
    gaps = means[0] - means[1]
    below, error = float(gaps.mean()), standard_error(gaps)
    denser = int((groups[1]["log_prob_latent"] > groups[1]["end"]).sum())
    side = "below" if below > 0 else "above"
    return _verdict(below, error), (
        f"log p(z) in nats over {len(gaps)} pairs of test images: real ends {ends}, straight line "
        f"{straight}, moved points {moved}; the line is {side} its own ends by "
        f"{rounded(abs(below), error)}, and denser than both of them at {denser} of "
        f"{len(groups[1])} interior points"
    )


def _better(
    points: "pandas.DataFrame", scores: "pandas.DataFrame", drawn: Drawn, premise: str
) -> tuple[str, str]:
    """Verdict and evidence on the score halfway, by the paired difference, and on the cause of a gain."""
    test = scores[scores["split"].eq("test") & scores["t"].notna()]
    halfway = test[(test["t"] - 0.5).abs() == (test["t"] - 0.5).abs().min()]
    line, moved = (halfway[where].iloc[0] for where in (halfway["lambda"] == LINE, halfway["lambda"] != LINE))
    verdict = _verdict(moved["difference"], moved["difference_stderr"])
    metric = moved["metric"]
    values = [pretty(metric, row["value"], row["stderr"]) for row in (moved, line)]
    inner = points[points["split"].eq("test") & ~points["real"]]
    distance = inner["image_distance"].groupby(inner["lambda"] != LINE).mean()
    text = (
        f"{title(metric)} over {moved['n']} pairs of test images: moved {values[0]}, straight {values[1]}, "
        f"difference {pretty(metric, moved['difference'], moved['difference_stderr'])} (paired). "
        f"{_choice(scores, drawn)} The moved images' mean square distance to the nearer real end is "
        f"{distance[True]:.2g}, the straight line's {distance[False]:.2g} (of unrelated images: about 2)"
    )
    if verdict != "holds":
        text += ". So no gain from the method is seen here"
        if premise == "fails":
            text += ": the straight line is denser than real images are, so density has nothing to gain"
    return verdict, text


def _choice(scores: "pandas.DataFrame", drawn: Drawn) -> str:
    """How λ was chosen, and what the other choices score on the validation pairs."""
    val = scores[scores["split"].eq("val") & scores["t"].isna()].set_index(["density", "lambda"])["value"]
    if val.empty:
        return f"λ = {drawn.shown:g}, the middle one: too few images were asked for to choose it by."
    straight, shown = val["ignored", LINE], val[drawn.density, drawn.shown]
    text = f"λ = {drawn.shown:g} was chosen on pairs of validation images"
    if drawn.chosen == LINE:
        text = (
            "On pairs of validation images no λ was better than the straight line; the smallest, "
            f"{drawn.shown:g}, is shown"
        )
    text += f": there the moved points score {shown:.2f} over all t, the straight line {straight:.2f}"
    if drawn.density != "ignored":
        without = val["ignored", drawn.shown]
        text += f", and points moved without the density term {without:.2f}"
        if without >= shown > straight:
            text += (
                "; the gain there comes from the third term, the pull towards a real image, not from density"
            )
    return f"{text}."
