from pathlib import Path

import pytest
import yaml

from marscf.config import load_config
from marscf.reporting import sources, style


@pytest.fixture
def add(workdir):
    """Add a system as a user does, by its file."""

    def write(name, **keys):
        glow = yaml.safe_load(Path("config/systems/glow.yaml").read_text())
        del glow["colour"]
        text = yaml.safe_dump({**glow, "name": name, "scales": {}, **keys})
        Path(f"config/systems/{name}.yaml").write_text(text)
        load_config.cache_clear()

    load_config.cache_clear()
    yield write
    load_config.cache_clear()


def test_a_system_is_called_and_coloured_as_its_file_says(add):
    add("mine", title="My flow", colour="#123456", order=15)
    assert sources.system_title("mine") == "My flow"
    assert style.looks(["mine"])["mine"]["color"] == "#123456"
    assert list(load_config().systems)[:3] == ["glow", "mine", "marscf-affine"]


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
