"""The look of every figure: seaborn, colour-blind-safe, legible at column width, the same bytes twice."""

from pathlib import Path
from typing import TYPE_CHECKING

from marscf.files import replacing

if TYPE_CHECKING:
    from matplotlib.figure import Figure

COLUMN = 3.3  # inches: one column of a two-column page
PAGE = 6.9  # both columns
SEED = 0  # of seaborn's bootstrap

# Okabe and Ito's palette: told apart with every common colour blindness, and in grey by marker and dash.
COLOURS = {
    "glow": "#0072B2",
    "marscf-affine": "#E69F00",
    "marscf-mixlogcdf": "#D55E00",
    "flowpp": "#009E73",
    "residual-flow": "#CC79A7",
    "pixelcnn": "#56B4E9",
    "histogram": "#666666",
}
SPARE = ("#000000", "#8C510A", "#5E3C99", "#B2ABD2")
MARKERS = ("o", "s", "D", "^", "v", "P", "X", "<", ">")


def use() -> None:
    """Set the style. An SVG's letters are paths, so that it looks alike everywhere; its ids stay."""
    import matplotlib as mpl
    import seaborn

    seaborn.set_theme(context="paper", style="ticks", font="DejaVu Sans")
    mpl.rcParams.update(
        {
            **{"font.size": 8, "axes.labelsize": 8, "axes.titlesize": 8, "legend.fontsize": 7},
            **{"xtick.labelsize": 7, "ytick.labelsize": 7, "figure.titlesize": 9, "lines.linewidth": 1.4},
            **{"axes.spines.top": False, "axes.spines.right": False, "legend.frameon": False},
            **{"axes.grid": True, "grid.linewidth": 0.4, "grid.alpha": 0.5, "axes.linewidth": 0.6},
            **{"xtick.major.width": 0.6, "ytick.major.width": 0.6, "lines.markersize": 4},
            **{"figure.constrained_layout.use": True, "figure.dpi": 100, "savefig.dpi": 300},
            **{"svg.hashsalt": "marscf", "svg.fonttype": "path", "pdf.fonttype": 42},
        }
    )


def colours(systems: list[str]) -> dict[str, str]:
    """A colour for each system, its own wherever it appears; systems of your own get the spare ones."""
    others = sorted(set(systems) - COLOURS.keys())
    spare = {name: SPARE[place % len(SPARE)] for place, name in enumerate(others)}
    return {name: COLOURS.get(name) or spare[name] for name in systems}


def markers(systems: list[str]) -> dict[str, str]:
    """A marker for each system."""
    known = [*COLOURS, *sorted(set(systems) - COLOURS.keys())]
    return {name: MARKERS[known.index(name) % len(MARKERS)] for name in systems}


def save(figure: "Figure", out: str | Path) -> "Figure":
    """Write `out.png` and `out.svg`, with neither date nor version in them, and return the figure."""
    for suffix, metadata in ((".png", {"Software": None}), (".svg", {"Date": None, "Creator": None})):
        with replacing(f"{out}{suffix}") as temporary:
            figure.savefig(temporary, metadata=metadata)
    return figure
