"""The benchmarks' history: a line for every measurement, and one plot of how the ratios went."""

import csv
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from marscf.files import replacing
from marscf.training.receipt import code_version

COLUMNS = ("date", "commit", "device", "torch", "work", "coupling", "steps", "channels", "side", "batch_size")
MEASURED = (
    "implementation",
    "median_seconds",
    "speed_over_reference",
    "speed_over_authors",
    "share_of_matmul_rate",
)
MEMORY = ("kept_megabytes", "peak_megabytes")


def append(rows: list[dict[str, Any]], facts: dict[str, Any], path: Path) -> None:
    """Add what `bench` measured to the history in `path`, a CSV."""
    about = {
        "date": datetime.now(UTC).isoformat(timespec="seconds"),
        "commit": code_version(),
        "device": facts["machine"]["device"],
        "torch": facts["machine"]["torch"],
    }
    names = [*COLUMNS, *MEASURED, *MEMORY]
    new = not path.is_file()
    with replacing(path) as temporary:
        before = "" if new else path.read_text(encoding="utf-8")
        with temporary.open("w", newline="", encoding="utf-8") as file:
            file.write(before)
            writer = csv.DictWriter(file, names, extrasaction="ignore", lineterminator="\n")
            if new:
                writer.writeheader()
            writer.writerows(about | row for row in rows)


def plot(path: Path) -> None:
    """Draw the history in `path` beside it, as `.png` and `.svg`: speed over the reference, by date."""
    import matplotlib

    matplotlib.use("Agg")
    import pandas
    import seaborn
    from matplotlib import pyplot

    from marscf.reporting import style

    style.use()
    history = pandas.read_csv(path, parse_dates=["date"])
    history = history[~history["implementation"].str.startswith("stepwise")]
    history["what"] = history["work"] + ", " + history["coupling"]
    figure, axes = pyplot.subplots(figsize=(style.PAGE, 2.8))
    seaborn.lineplot(
        history,
        x="date",
        y="speed_over_reference",
        hue="what",
        style="implementation",
        markers=True,
        errorbar=None,
        palette="colorblind",
        ax=axes,
    )
    axes.axhline(1, color="0.4", linewidth=0.8, linestyle=":")
    axes.set(xlabel="", ylabel="speed over the step-by-step reference")
    axes.legend(loc="center left", bbox_to_anchor=(1, 0.5))
    figure.autofmt_xdate()
    style.save(figure, path.with_suffix(""))
    pyplot.close(figure)
