"""The look of every figure: seaborn, colour-blind-safe, legible at column width, the same bytes twice."""

from collections.abc import Iterable
from pathlib import Path
from typing import TYPE_CHECKING, Any

from marscf.config import load_config
from marscf.files import replacing

if TYPE_CHECKING:
    from matplotlib.figure import Figure

COLUMN = 3.3  # inches: one column of a two-column page
PAGE = 6.9  # both columns

# A system's colour is in its file, `config/systems`. Those there are Okabe and Ito's: readers with any common
# colour blindness can tell them apart, and markers tell them apart in grey. A system without a colour of its
# own gets one of these.
PALETTE = ("#000000", "#8C510A", "#5E3C99", "#B2ABD2", "#01665E", "#C51B7D", "#7FBC41", "#80CDC1")
MARKERS = ("o", "s", "D", "^", "v", "P", "X", "<", ">", "p", "h", "*", "d")


def use() -> None:
    """Set the style. Letters in an SVG are paths, so that it looks alike everywhere; its ids are fixed."""
    import matplotlib as mpl
    import seaborn

    mpl.rcdefaults()  # a personal matplotlibrc changes no figure
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


def text(title: str) -> str:
    """Return a title as matplotlib shows it letter by letter: no mathematics, nothing left out of legends."""
    return ("\u200a" if title.startswith("_") else "") + title.replace("$", r"\$")


def every(points: int) -> int:
    """Return at every how many points a line has its marker, so that markers do not cover it."""
    return max(1, points // 15)


def looks(systems: Iterable[str]) -> dict[str, dict[str, Any]]:
    """The colour and marker of each system, the same in every figure, whichever systems are drawn.

    Systems with a colour in their file come first, then the others, each in the order of `config/systems`;
    last the systems that have no file. So a new system without a colour changes the look of no other that has
    one.
    """
    known = load_config().systems
    own = {name: system.colour for name, system in known.items() if system.colour}
    spare = [name for name in known if name not in own]
    spare += sorted(set(systems) - known.keys())
    colours = own | {name: PALETTE[place % len(PALETTE)] for place, name in enumerate(spare)}
    markers = {name: MARKERS[place % len(MARKERS)] for place, name in enumerate(colours)}
    return {name: {"color": colours[name], "marker": markers[name]} for name in systems}


def save(figure: "Figure", out: str | Path) -> "Figure":
    """Write `out.png` and `out.svg`, without date and version, and return the figure."""
    for suffix, metadata in ((".png", {"Software": None}), (".svg", {"Date": None, "Creator": None})):
        with replacing(f"{out}{suffix}") as temporary:
            figure.savefig(temporary, metadata=metadata)
    return figure
