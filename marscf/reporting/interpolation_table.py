"""Densities, distances and scores of each way between two images, compared with real images."""

from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING

from marscf.reporting import sources
from marscf.reporting.interpolation import LINE, Drawn, read_paths, read_points, read_scores
from marscf.reporting.metrics import pretty, qualifier, rounded
from marscf.reporting.tables import Cell, Table, anchor
from marscf.runs import Run

if TYPE_CHECKING:
    import pandas

DENSITIES = {"log p(z)": "log_prob_latent", "log p(x)": "log_prob_image"}
DISTANCES = {"distance from the line": "line_distance", "distance to the nearer end": "image_distance"}
SPLITS = {"val": "validation", "test": "test"}
WORDS = {"typical": "typical density", "unbounded": "unbounded density", "ignored": "density ignored"}
SAME = ["split", "pair", "point"]  # name one place between two images
NONE = Cell("–", "")


def densities(points: "pandas.DataFrame") -> "pandas.DataFrame":
    """Add to the points of a run the columns that they are compared with, in nats.

    `gain in …`, for each name of `DENSITIES`, is over the straight line's point at the same place; `end` is
    log p(z) of the denser real end of the pair; `real` marks the ends.
    """
    line = points[points["lambda"] == LINE]
    rows = points.merge(line[SAME + list(DENSITIES.values())], on=SAME, suffixes=("", "_line"))
    rows["real"] = rows["point"].isin([points["point"].min(), points["point"].max()])
    ends = rows[rows["real"]].groupby(["split", "pair"])["log_prob_latent"].max().rename("end")
    for name, column in DENSITIES.items():
        rows[f"gain in {name}"] = rows[column] - rows[f"{column}_line"]
    return rows.merge(ends.reset_index(), on=["split", "pair"])


def sensitivity_table(runs: Sequence[str]) -> Table:
    """Results by λ and by how density counts: all choices on validation pairs, one on test pairs."""
    caption = (
        "Interpolation: real images, the straight line, and points moved off it, by λ = λ1 = λ2 and by what "
        "of the density counts; mean ± standard error over the pairs, log-densities in nats, score gains "
        "paired"
    )
    measured = [column for name in DENSITIES for column in (name, f"gain in {name}")]
    columns = ["dataset", "system", "pairs of", "images", *measured, "denser than both ends", *DISTANCES]
    table = Table(caption, [*columns, "score", "gain in score"])
    for run in runs:
        of = Run.from_path(run)
        names = [
            Cell(sources.dataset_title(of.dataset), of.dataset),
            Cell(sources.system_title(of.system), of.system, anchor(vars(of))),
        ]
        table.rows += [[*names, *cells] for cells in _ways(run)]
    return table


def _ways(run: str) -> Iterator[list[Cell]]:
    """The rows of a run, for each split: real images, the line, each way to move off it."""
    points, scores, drawn = densities(read_points(run)), read_scores(run), read_paths(run)
    for split, words in SPLITS.items():
        rows, scored = points[points["split"] == split], scores[scores["split"] == split]
        if rows.empty:  # too few images were asked for to choose λ by
            continue
        pairs = Cell(f"{words} images", split, note=f"{rows['pair'].nunique()} pairs")
        line = rows["lambda"] == LINE
        ends = scored[scored["lambda"].eq(LINE) & scored["t"].isin([0, 1])]
        yield [pairs, Cell("real images"), *_means(rows[line & rows["real"]]), _score(ends), NONE]
        inner = rows[~rows["real"]]
        for _, way in inner.groupby(["lambda", "density"], sort=False):
            value, density = float(way["lambda"].iloc[0]), str(way["density"].iloc[0])
            of = scored[scored["lambda"].eq(value) & scored["density"].eq(density) & scored["t"].isna()]
            name = Cell(_name(value, density, drawn))
            yield [pairs, name, *_means(way, value != LINE), _score(of), _score(of, "difference")]


def _name(value: float, density: str, drawn: Drawn) -> str:
    text = "straight line" if value == LINE else f"λ = {value:g}, {WORDS[density]}"
    ours = value == drawn.chosen and (value == LINE or density == drawn.density)
    return f"{text} (chosen)" if ours else text


def _means(rows: "pandas.DataFrame", moved: bool = False) -> Iterator[Cell]:
    for name, column in DENSITIES.items():
        yield mean(rows, column)
        yield mean(rows, f"gain in {name}") if moved else NONE
    if rows["real"].all():
        yield from (NONE, *(NONE for _ in DISTANCES))
        return
    denser = int((rows["log_prob_latent"] > rows["end"]).sum())
    yield Cell(f"{denser} of {len(rows)}", denser, kind="number")
    for column in DISTANCES.values():
        yield mean(rows, column)


def mean(rows: "pandas.DataFrame", column: str) -> Cell:
    """The mean over pairs of their means over points, ± its standard error."""
    pairs = rows.groupby("pair")[column].mean()
    value, note = float(pairs.mean()), f"{len(pairs)} pairs"
    return Cell(rounded(value, standard_error(pairs)), value, note=note, kind="number")


def standard_error(values: "pandas.Series") -> float:
    """The standard error of a mean, NaN for a single value."""
    return float(values.std(ddof=1)) / len(values) ** 0.5


def _score(rows: "pandas.DataFrame", column: str = "value") -> Cell:
    """A mean score, or its difference from the straight line's; real images have one at each end."""
    if rows.empty or rows[column].isna().all():
        return NONE
    value, first = float(rows[column].mean()), rows.iloc[0]
    error = first["stderr" if column == "value" else f"{column}_stderr"] if len(rows) == 1 else None
    note = f"{qualifier(first['metric']) or 'Inception'}: {first['protocol']}"
    return Cell(pretty(first["metric"], value, error), value, note=note, kind="number")
