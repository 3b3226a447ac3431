import os
import subprocess
import sys
from pathlib import Path

import pytest
import yaml

from marscf.config import load_config, loading
from marscf.reporting import sources, style

REPOSITORY = Path(__file__).parents[2]


@pytest.fixture
def add(workdir):
    """Add a system as a user does, by its file."""

    def write(name, **keys):
        glow = yaml.safe_load(Path("config/systems/glow.yaml").read_text())
        del glow["colour"]
        text = yaml.safe_dump({**glow, "name": name, "scales": {}, **keys})
        Path(f"config/systems/{name}.yaml").write_text(text)
        loading._load.cache_clear()

    loading._load.cache_clear()
    yield write
    loading._load.cache_clear()


def test_a_system_is_called_and_coloured_as_its_file_says(add):
    add("mine", title="My flow", colour="#123456", order=12)
    assert sources.system_title("mine") == "My flow"
    assert style.looks(["mine"])["mine"]["color"] == "#123456"
    assert list(load_config().systems)[:3] == ["glow", "mine", "gaussian-affine"]


def test_a_system_without_a_colour_gets_one_that_stays(add):
    known = list(load_config().systems)
    before = style.looks(known)
    add("mine", order=15)
    alone, among = style.looks(["mine"]), style.looks([*known, "mine"])
    assert alone["mine"] == among["mine"]  # whichever systems are drawn
    assert {name: among[name] for name in known} == before  # and the others keep theirs
    assert among["mine"]["color"] not in {look["color"] for look in before.values()}


def test_every_system_of_the_project_has_a_look_of_its_own(add):
    looks = style.looks(load_config().systems)
    assert all(system.colour for system in load_config().systems.values())
    for kind in ("color", "marker"):
        assert len({look[kind] for look in looks.values()}) == len(looks)


PERSONAL = [
    "lines.linestyle: --\nsavefig.bbox: tight",
    "text.usetex: True",
    "axes.formatter.limits: 0, 0\naxes.facecolor: red\nsavefig.transparent: True",
]
DRAW = """
import sys
from matplotlib import pyplot
from marscf.reporting import style
style.use()
figure, axes = pyplot.subplots()
axes.plot([0, 1], [1, 2], label="a_b")
axes.set_title("Digits 8×8")
axes.legend()
style.save(figure, sys.argv[1])
"""


def test_a_personal_matplotlibrc_changes_no_figure(tmp_path):
    environment = {**os.environ, "MPLCONFIGDIR": str(tmp_path), "MPLBACKEND": "agg"}
    drawn = []
    for number, lines in enumerate(["", *PERSONAL]):
        (tmp_path / "matplotlibrc").write_text(lines)
        call = [sys.executable, "-c", DRAW, str(tmp_path / str(number))]
        subprocess.run(call, check=True, cwd=REPOSITORY, env=environment)
        drawn.append([(tmp_path / f"{number}.{kind}").read_bytes() for kind in ("png", "svg")])
    assert drawn == [drawn[0]] * len(drawn)


HOSTILE = ["Notes of $5_to_$10", "_hidden", r"\alpha$", "$x$", "a $ b", r"\$\$"]


@pytest.mark.parametrize("title", HOSTILE)
def test_a_title_is_drawn_letter_by_letter(title):
    """Its outline is that of the same letters where matplotlib knows no mathematics."""
    from matplotlib import pyplot, rc_context
    from matplotlib.text import Text

    style.use()
    figure = pyplot.figure()
    figure.canvas.draw()
    shown = figure.add_artist(Text(0, 0, style.text(title)))
    with rc_context({"text.parse_math": False}):
        expected = figure.add_artist(Text(0, 0, title.replace("_hidden", "\u200a_hidden")))
    assert shown.get_window_extent().bounds == expected.get_window_extent().bounds
    axes = figure.add_subplot()
    axes.plot([0], label=style.text(title))
    assert len(axes.get_legend_handles_labels()[1]) == 1
    figure.canvas.draw()
    pyplot.close(figure)
