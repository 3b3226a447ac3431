""".dvcignore is what workflow/dvcignore.py writes, and its patterns choose what the script says in paths."""

import base64
import fnmatch
import runpy
from pathlib import Path

import pytest

REPOSITORY = Path(__file__).parents[2]
SCRIPT = runpy.run_path(str(REPOSITORY / "workflow" / "dvcignore.py"))


def ignored(path):
    """Whether a record is ignored: the last pattern that fits it decides."""
    name = f".snakemake/metadata/{base64.urlsafe_b64encode(path.encode()).decode()}"
    fits = [line for line in SCRIPT["lines"]() if fnmatch.fnmatchcase(name, line.removeprefix("!"))]
    return bool(fits) and not fits[-1].startswith("!")


def test_the_file_is_what_the_script_writes():
    written = (REPOSITORY / ".dvcignore").read_text().partition(SCRIPT["BEGIN"])[2]
    assert written.split() == SCRIPT["lines"]()


@pytest.mark.parametrize("scale", ["q", "quick", "laptop", "cpu-hours", "gpu-hour", "mine-2", "published"])
def test_records_are_kept_where_the_file_is(scale):
    kept = [f"reports/{scale}/{name}" for name in ("metrics.csv", "metrics.json", "sampling_speed.csv")]
    kept += [f"data/runs/{scale}/digits/glow/seed0/receipt.json", "data/datasets/digits/train.npy"]
    assert not any(ignored(path) for path in kept)
    left = [
        "figures/fig07_sampling_speed.png",
        "tables/table_sampling_speed.csv",
        "index.html",
        "summary.txt",
    ]
    assert all(ignored(f"reports/{scale}/{name}") for name in left)
