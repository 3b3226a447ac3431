"""CONTRIBUTING.md is true: its code blocks are put where they say, in a copy of the repository, and work."""

import re
import sys
from pathlib import Path

import pytest

from marscf.config import read_yaml

GUIDE = (Path(__file__).parents[2] / "CONTRIBUTING.md").read_text()
PLACE = r"# (\S+), (?:at the end|a new file|after `([^`\n]+)`|instead of `([^`\n]+)`)\n"
BLOCK = re.compile(rf"```python\n{PLACE}(.*?)```", re.DOTALL)


def follow(checkout, section):
    """Do what a section's code blocks say; return the files that were touched."""
    text = re.split(r"^##+ ", GUIDE.partition(f"\n### {section}")[2], maxsplit=1, flags=re.MULTILINE)[0]
    touched = set()
    for file, after, instead, code in BLOCK.findall(text):
        path = checkout.root / file
        old = path.read_text() if path.exists() else ""
        if line := after or instead:
            assert old.count(f"{line}\n") == 1, f"{file}: no such line, or several: {line}"
            new = old.replace(f"{line}\n", (f"{line}\n" if after else "") + code)
        else:
            new = f"{old}\n\n{code}" if old else code
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(new)
        touched.add(file)
    return touched


@pytest.mark.parametrize(("section", "most"), [("A metric", 2), ("A figure", 2), ("A coupling", 3)])
def test_no_more_files_are_touched_than_promised(fresh_checkout, section, most):
    touched = follow(fresh_checkout, section)
    assert 0 < len(touched) <= most
    python = [sys.executable, "-m"]
    fresh_checkout.call(*python, "ruff", "check", *sorted(touched))
    fresh_checkout.call(*python, "ruff", "format", "--check", *sorted(touched))


def test_a_coupling_passes_the_property_loop_and_makes_a_model(fresh_checkout):
    follow(fresh_checkout, "A coupling")
    loop = [sys.executable, "-m", "pytest", "tests/flows/test_bijections.py", "-k", "AdditiveCoupling"]
    assert re.search(r"[1-9]\d* passed", fresh_checkout.call(*loop, "-o", "addopts=").stdout)
    code = """
import torch
from marscf.models.multiscale_flow import MultiScaleFlow
options = dict(levels=1, steps=2, channels=4, lstm_channels=4)
model = MultiScaleFlow((1, 8, 8), 17, coupling="additive", **options).eval()
x = torch.randint(17, (3, 1, 8, 8), dtype=torch.uint8)
assert torch.equal(model.to_discrete(model.decode(model.encode(x))), x)
"""
    fresh_checkout.call(sys.executable, "-c", code)


def test_a_metric_is_measured_and_collected(fresh_checkout):
    run = "data/runs/quick/digits/histogram/seed0"
    code = f"""
import numpy
from marscf.evaluation.likelihood import Likelihood, likelihood_measurements
from marscf.evaluation.measurements import write_measurements
from marscf.models.histogram import PixelHistogram
from marscf.runs import Run
run = Run.from_path({run!r})
result = Likelihood(-numpy.linspace(50, 90, 360)[:, None], 0, 0)
rows = likelihood_measurements(result, PixelHistogram((1, 8, 8), 17), dims=64, available=360)
write_measurements(run.path / "likelihood.json", run, rows)
(run.path / "receipt.json").write_text('{{}}')
"""
    follow(fresh_checkout, "A metric")
    fresh_checkout.call(sys.executable, "-c", code)
    fresh_checkout.call("marscf", "report", "collect", "--scale", "quick", "--runs", run)
    rows = (fresh_checkout.root / "reports/quick/metrics.csv").read_text().splitlines()
    assert [row for row in rows if ",worst_bits_per_dim," in row]
    path = fresh_checkout.root / "marscf/reporting/metrics.py"
    path.write_text(re.sub(r'    "worst_bits_per_dim".*\n', "", path.read_text()))
    refused = fresh_checkout.call(
        "marscf", "report", "collect", "--scale", "quick", "--runs", run, check=False
    )
    assert refused.returncode == 2 and "worst_bits_per_dim" in refused.stderr


def test_a_figure_is_planned_and_drawn(fresh_checkout):
    follow(fresh_checkout, "A figure")
    assert "reports/quick/figures/bits_per_dim.svg" in fresh_checkout.planned()
    code = """
from marscf.reporting.catalogue import product
entry = product("bits_per_dim")
entry.save(entry.make("quick", []), "drawn")
"""
    fresh_checkout.call(sys.executable, "-c", code)
    assert "<svg" in (fresh_checkout.root / "drawn.svg").read_text()[:2000]


def test_every_folder_that_it_names_is_there():
    root = Path(__file__).parents[2]
    named = re.findall(r"`((?:marscf|tests|config|workflow)/[\w/.]+)`", GUIDE)
    assert named and not [name for name in named if not (root / name).exists() and "NAME" not in name]
    assert read_yaml(root / "config/systems/glow.yaml")["model"].count(".") == 1  # module.Class
