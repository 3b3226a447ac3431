"""Sampling speed over image sides: the tables, and Fig. 7."""

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from marscf.errors import EvaluationError
from marscf.reporting import sources, style
from marscf.reporting.collect import unsealed_sweep
from marscf.reporting.metrics import pretty
from marscf.reporting.tables import Cell, Table
from marscf.studies.scaling import fit_exponent, sequential_steps

if TYPE_CHECKING:
    import pandas
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

SWEEP_PLACE = "sampling-speed-sweep"  # the place on the page that says how the sweep was measured


@dataclass(frozen=True)
class Growth:
    """The exponent k of `time ~ N^k`, with its 95 % interval; None where there are too few sides."""

    exponent: float
    low: float
    high: float

    @property
    def text(self) -> str:
        """As printed in tables."""
        return f"N^{self.exponent:.2f} [{self.low:.2f}, {self.high:.2f}]"

    @property
    def formula(self) -> str:
        """As printed in a figure's legend, with a superscript."""
        return f"$N^{{{self.exponent:.2f}}}$ [{self.low:.2f}, {self.high:.2f}]".replace("-", "−")


def read_sweep(path: str | Path) -> "pandas.DataFrame":
    """Read `reports/<scale>/sampling_speed.csv`."""
    import pandas

    return pandas.read_csv(unsealed_sweep(Path(path)))


def growth(rows: "pandas.DataFrame", of: str = "milliseconds") -> Growth | None:
    """Fit how a system's time, or its sequential steps, grow with the side; None for under three sides."""
    try:
        return Growth(*fit_exponent(list(rows["image_size"]), list(rows[of])))
    except EvaluationError:
        return None


def _systems(sweep: "pandas.DataFrame") -> Iterator[tuple[str, "pandas.DataFrame"]]:
    for system in dict.fromkeys(sweep["system"]):
        yield system, sweep[sweep["system"] == system]


PAPER_SIDE = 32  # of the images in the paper's table of sampling speed


def speed_table(sweep: "pandas.DataFrame") -> Table:
    """Milliseconds per image and counted sequential steps at 32×32, or the largest side below it."""
    side = max((s for s in sweep["image_size"] if s <= PAPER_SIDE), default=sweep["image_size"].min())
    one = sweep.iloc[0]
    caption = (
        f"Milliseconds per image of {one['channels']}×{side}×{side}, drawn {one['batch_size']} at a time "
        f"(mean ± standard error over repeats), and sequential steps; {style.text(one['device'])}"
    )
    columns = ["system", "ms/image", "sequential steps", "published", "source", "status"]
    table = Table(caption, columns)
    for system, rows in _systems(sweep):
        here = rows[rows["image_size"] == side]
        cells = [Cell(sources.system_title(system), system), _time(here, int(one["batch_size"]))]
        if here.empty:
            table.rows.append(
                [*cells, *[Cell("–", "")] * 3, Cell("not timed at this side", kind="incomparable")]
            )
            continue
        steps = int(here["sequential_steps"].iloc[0])
        table.rows.append(
            [*cells, Cell(f"{steps:,}", steps, SWEEP_PLACE, kind="number"), *_claim(system, here.iloc[0])]
        )
    return table


def growth_table(sweep: "pandas.DataFrame") -> Table:
    """Milliseconds per batch at each side, how they and the steps grow, what a step costs at both ends."""
    sides = sorted(sweep["image_size"].unique())
    one = sweep.iloc[0]
    caption = (
        f"Milliseconds to draw {one['batch_size']} images of {one['channels']}×N×N "
        f"(mean ± standard error over repeats; {one['device']})"
    )
    columns = ["system", *(f"N = {side}" for side in sides), "time grows as", "steps grow as"]
    table = Table(caption, [*columns, "ms/step, smallest N → largest"])
    for system, rows in _systems(sweep):
        cells = [Cell(sources.system_title(system), system)]
        cells += [_time(rows[rows["image_size"] == side]) for side in sides]
        time, steps = growth(rows), growth(rows, "sequential_steps")
        cells += [Cell(time.text if time else "–"), Cell(steps.text.partition(" ")[0] if steps else "–")]
        each = (rows["milliseconds"] / rows["sequential_steps"]).groupby(rows["image_size"]).mean()
        table.rows.append([*cells, Cell(f"{each.iloc[0]:.3g} → {each.iloc[-1]:.3g}")])
    return table


def _time(rows: "pandas.DataFrame", batch: int = 1) -> Cell:
    """The mean of repeats ± standard error, divided by `batch`; the note has the median."""
    times = rows["milliseconds"] / batch
    if times.empty:
        return Cell("too slow", "")
    error = float(times.std(ddof=1)) / len(times) ** 0.5  # NaN for one
    mean, note = float(times.mean()), f"{len(times)} repeats, median {times.median():.4g} ms"
    return Cell(pretty("sampling_ms", mean, error), mean, SWEEP_PLACE, note, "number")


def _claim(system: str, row: "pandas.Series") -> list[Cell]:
    """The cells published, source, status: of other machines, only Lemma A.1's steps can be compared."""
    if not system.startswith("marscf"):
        return [
            Cell("–", ""),
            Cell("–", ""),
            Cell("not comparable: another machine's time", kind="incomparable"),
        ]
    lemma = sequential_steps(int(row["channels"]), int(row["levels"]))
    source = Cell("Bhattacharyya et al. 2020, Lemma A.1")
    counted = int(row["sequential_steps"])
    if counted == lemma:
        return [Cell(f"{lemma:,} steps", lemma), source, Cell("reproduced: as many steps", kind="reproduced")]
    return [Cell(f"{lemma:,} steps", lemma), source, Cell(f"{counted:,} steps were counted", kind="short")]


def sampling_speed(sweep: "pandas.DataFrame") -> "Figure":
    """Draw Fig. 7: mAR-SCF on linear axes with y = 2x as in the paper, all systems on log axes, the steps."""
    from matplotlib import pyplot

    style.use()
    looks = style.looks(dict.fromkeys(sweep["system"]))
    figure, (linear, log, steps) = pyplot.subplots(1, 3, figsize=(style.PAGE, 3.3))
    _linear_times(linear, sweep, looks)
    _log_times(log, sweep, looks)
    _steps(steps, sweep, looks)
    sides = np.array(sorted(sweep["image_size"].unique()), float)
    for axes, label in ((linear, None), (log, "y = 2x")):
        axes.plot(sides, 2 * sides, ls="--", lw=1, color="black", label=label, zorder=3)
    for axes, shown in ((linear, sides[sides >= sides[-1] / 8]), (log, sides), (steps, sides)):
        if axes is not linear:
            axes.set(xscale="log", yscale="log")
        axes.set_xlabel("image side N (pixels)")
        axes.set_xticks(shown, [f"{side:.0f}" for side in shown])
        axes.minorticks_off()
    linear.set(xlim=(0, None), ylim=(0, None))
    one = sweep.iloc[0]
    linear.set_ylabel(f"ms for {one['batch_size']} images of {one['channels']}×N×N")
    title = f"time grows as $N^k$ [95 % interval]; {style.text(one['device'])}"
    figure.legend(loc="outside lower center", ncols=2, title=title, title_fontsize=7)
    return figure


def _linear_times(axes: "Axes", sweep: "pandas.DataFrame", looks: dict[str, dict[str, Any]]) -> None:
    """The times of mAR-SCF against N, or of all systems where it was not timed."""
    ours = [name for name in looks if name.startswith("marscf")] or list(looks)
    for name, rows in _systems(sweep):
        if name in ours:
            at = rows.groupby("image_size")["milliseconds"]
            mean, spread = at.mean(), at.std(ddof=1).fillna(0.0)
            axes.errorbar(mean.index, mean, yerr=spread, capsize=2.5, elinewidth=0.8, **looks[name])
            axes.fill_between(
                mean.index, mean - spread, mean + spread, color=looks[name]["color"], alpha=0.2, lw=0
            )
    axes.set_title("mAR-SCF, linear axes\n(mean ± standard deviation)")


def _log_times(axes: "Axes", sweep: "pandas.DataFrame", looks: dict[str, dict[str, Any]]) -> None:
    """The times of all systems against N, with the exponents of their growth in the legend."""
    for name, rows in _systems(sweep):
        at, fit = rows.groupby("image_size")["milliseconds"], growth(rows)
        label = style.text(sources.system_title(name)) + (f":  {fit.formula}" if fit else "")
        axes.plot(at.median(), label=label, **looks[name])
        low, high = at.quantile(0.25), at.quantile(0.75)
        axes.fill_between(low.index, low, high, color=looks[name]["color"], alpha=0.2, lw=0)
    axes.set_title("all systems, log axes\n(median, middle half)")


def _steps(axes: "Axes", sweep: "pandas.DataFrame", looks: dict[str, dict[str, Any]]) -> None:
    """Counted steps against N; of systems that take the same steps, larger marks are below smaller ones."""
    by_system = {
        name: rows.groupby("image_size")["sequential_steps"].first() for name, rows in _systems(sweep)
    }
    for place, (name, counted) in enumerate(by_system.items()):
        later = list(by_system.values())[place + 1 :]
        axes.plot(counted, ms=4 + 3 * sum(counted.equals(other) for other in later), **looks[name])
    axes.set_title("sequential steps,\ncounted")
