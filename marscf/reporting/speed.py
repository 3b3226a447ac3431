"""Sampling speed over image sides: the table, and Fig. 7."""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from marscf.errors import EvaluationError, MarscfError
from marscf.reporting import sources, style
from marscf.reporting.collect import reports
from marscf.reporting.metrics import pretty
from marscf.reporting.tables import Cell, Table
from marscf.studies.scaling import fit_exponent, sequential_steps

if TYPE_CHECKING:
    import pandas
    from matplotlib.figure import Figure


@dataclass(frozen=True)
class Growth:
    """The exponent k of `time ~ N^k`, with its 95 % interval; None where there are too few sides."""

    exponent: float
    low: float
    high: float

    @property
    def text(self) -> str:
        """As printed in legends and tables."""
        return f"N^{self.exponent:.2f} [{self.low:.2f}, {self.high:.2f}]"


def read_sweep(scale: str) -> "pandas.DataFrame":
    """Read `reports/<scale>/sampling_speed.csv`."""
    import pandas

    path = reports(scale) / "sampling_speed.csv"
    if not path.is_file():
        raise MarscfError(f"no {path}; make it with: marscf study sampling-speed --scale {scale}")
    return pandas.read_csv(path)


def growth(rows: "pandas.DataFrame", of: str = "milliseconds") -> Growth | None:
    """Fit how a system's time, or its sequential steps, grow with the side; None for under three sides."""
    try:
        return Growth(*fit_exponent(list(rows["image_size"]), list(rows[of])))
    except EvaluationError:
        return None


def _systems(sweep: "pandas.DataFrame") -> Iterator[tuple[str, "pandas.DataFrame"]]:
    for system in dict.fromkeys(sweep["system"]):
        yield system, sweep[sweep["system"] == system]


def speed_table(scale: str) -> Table:
    """Milliseconds a batch at each side, counted steps, Lemma A.1, and the fitted growth."""
    sweep = read_sweep(scale)
    sides = sorted(sweep["image_size"].unique())
    one = sweep.iloc[0]
    caption = (
        f"Milliseconds to draw {one['batch_size']} images of {one['channels']}×N×N "
        f"(mean ± standard error over repeats; {one['device']})"
    )
    columns = ["system", *(f"N = {side}" for side in sides), "time grows as", f"steps at N = {sides[-1]}"]
    table = Table(caption, [*columns, "steps grow as", "published", "source", "status"])
    for system, rows in _systems(sweep):
        cells = [Cell(sources.system_title(system), system)]
        for side in sides:
            times = rows.loc[rows["image_size"] == side, "milliseconds"]
            if times.empty:
                cells.append(Cell("too slow", ""))
                continue
            error = float(times.sem(ddof=1)) if len(times) > 1 else None
            mean = float(times.mean())
            cells.append(
                Cell(pretty("sampling_ms", mean, error), mean, note=f"{len(times)} repeats", kind="number")
            )
        largest = rows[rows["image_size"] == rows["image_size"].max()].iloc[0]
        time, steps = growth(rows), growth(rows, "sequential_steps")
        cells.append(Cell(time.text if time else "–"))
        at = "" if largest["image_size"] == sides[-1] else f" (at N = {largest['image_size']})"
        cells.append(
            Cell(f"{largest['sequential_steps']:,}{at}", int(largest["sequential_steps"]), kind="number")
        )
        cells.append(Cell(steps.text.partition(" ")[0] if steps else "–"))
        table.rows.append(cells + _claim(system, largest))
    return table


def _claim(system: str, largest: "pandas.Series") -> list[Cell]:
    """The paper prints no milliseconds as numbers; what it does state is Lemma A.1's count of steps."""
    if not system.startswith("marscf"):
        return [Cell("–", ""), Cell("–", ""), Cell("no time is printed in the paper", kind="incomparable")]
    lemma = sequential_steps(int(largest["channels"]), int(largest["levels"]))
    source = Cell("Bhattacharyya et al. 2020, Lemma A.1")
    counted = int(largest["sequential_steps"])
    if counted == lemma:
        return [Cell(f"{lemma:,} steps", lemma), source, Cell("reproduced: as many steps", kind="reproduced")]
    return [Cell(f"{lemma:,} steps", lemma), source, Cell(f"{counted:,} steps were counted", kind="short")]


def sampling_speed(scale: str) -> "Figure":
    """Draw Fig. 7: time against N with the spread over repeats and the line y = 2x; beside it the steps."""
    from matplotlib import pyplot

    style.use()
    sweep = read_sweep(scale)
    systems = list(dict.fromkeys(sweep["system"]))
    colours, marks = style.colours(systems), style.markers(systems)
    figure, (left, right) = pyplot.subplots(1, 2, figsize=(style.PAGE, 3.1))
    for place, (system, rows) in enumerate(_systems(sweep)):
        at = rows.groupby("image_size")["milliseconds"]
        sides, mean = np.array(list(at.groups)), at.mean().to_numpy()
        spread = at.std(ddof=1).fillna(0.0).to_numpy()
        look = {"color": colours[system], "marker": marks[system]}
        fit = growth(rows)
        label = sources.system_title(system) + (f":  {fit.text}" if fit else "")
        left.plot(sides, mean, label=label, **look)
        left.fill_between(
            sides,
            np.maximum(mean - spread, mean / 10),
            mean + spread,
            color=colours[system],
            alpha=0.25,
            lw=0,
        )
        steps = rows.groupby("image_size")["sequential_steps"].first()
        # systems that take the same steps lie on each other: larger marks below smaller ones
        right.plot(steps.index, steps.to_numpy(), ms=9 - place, **look)
    sides = np.array(sorted(sweep["image_size"].unique()), float)
    lowest = sweep["milliseconds"].min()
    for axes, start in ((left, 2 * sides), (right, 2 * sides)):
        axes.plot(sides, start, ls="--", lw=1, color="black", label="y = 2x" if axes is left else None)
        axes.set(xscale="log", yscale="log", xlabel="image side N (pixels)")
        axes.set_xticks(sides, [f"{side:.0f}" for side in sides])
        axes.minorticks_off()
    left.set_ylim(bottom=min(lowest, 2 * sides[0]) / 1.5)
    one = sweep.iloc[0]
    left.set_ylabel(f"ms for {one['batch_size']} images of {one['channels']}×N×N")
    right.set_ylabel("counted sequential steps")
    left.set_title("time (band: ± standard deviation over repeats)")
    right.set_title("sequential steps")
    figure.legend(loc="outside lower center", ncols=2)
    return figure
