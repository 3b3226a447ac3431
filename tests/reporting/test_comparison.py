"""`marscf compare`: what it prints of runs whose numbers are known."""

import re
from dataclasses import replace
from pathlib import Path

import pytest

from marscf.errors import ConfigError
from marscf.evaluation.measured import read_per_image
from marscf.evaluation.measurements import write_per_image
from marscf.files import digest, read_json, write_json
from marscf.reporting import comparison
from marscf.reporting.comparison import compare, text

GLOW, AFFINE = (f"data/runs/quick/digits/{system}/seed0" for system in ("glow", "marscf-affine"))


def rows(table):
    return {row[0]: row[1:] for row in table}


def test_best_values_are_marked_whichever_way_is_better(workdir):
    table = rows(compare([GLOW, AFFINE]))
    assert [cell.endswith(" <") for cell in table["bits/dim"]] == [False, True]
    assert table["bits/dim"] == ["1.900 ± 0.010", "1.800 ± 0.010 <"]
    score = next(cells for name, cells in table.items() if name.startswith("IS"))
    assert [cell.endswith(" <") for cell in score] == [False, True]
    assert not any("<" in cell for cell in table["parameters"])
    gap = {"metric": "generalisation_gap", "value": 0.1, "stderr": 0.01, "n": 9}
    assert not any("<" in cell for cell in comparison._cells([gap, {**gap, "value": 0.2}]))


def test_difference_is_paired_over_images_and_says_what_it_stands_on(workdir):
    difference = compare([GLOW, AFFINE])[-1]
    assert difference[:2] == ["bits/dim more than the first", ""]
    value, reach = map(float, re.match(r"([-+.\d]+) ± ([.\d]+)", difference[2]).groups())
    assert value == pytest.approx(-0.1, abs=1e-4)
    assert 0.002 < reach < 0.004  # each run's own error of 0.01 would give 0.028
    assert difference[2].endswith("(more than chance, one seed each)")


def test_difference_within_chance_says_so(workdir, another_run):
    other = another_run("glow", 1.9001, 1)
    assert "(within chance, one seed each)" in compare([GLOW, str(other)])[-1][2]


def test_runs_scored_on_different_numbers_of_images_are_paired_over_those_that_both_have(
    workdir, another_run
):
    other = Path(another_run("glow", 1.9, 1))
    scores = read_per_image(other)
    few = replace(scores, scores=scores.scores[:100])
    content = read_json(other / "likelihood.json")
    bits = few.bits_per_dim
    for entry in content["measurements"]:
        if entry["metric"] == "bits_per_dim":
            entry |= {"value": bits.mean(), "stderr": bits.std(ddof=1) / 10, "n": 100}
    content["per_image_sha256"] = write_per_image(other, few)
    del content["digest"]
    write_json(other / "likelihood.json", {**content, "digest": digest(content)})
    table = rows(compare([GLOW, str(other)]))
    assert [cell.rpartition(" ")[2] for cell in table["bits/dim"]] == ["360)", "100)"]  # none is marked
    found = table["bits/dim more than the first"][1]
    expected = bits.mean() - read_per_image(GLOW).bits_per_dim[:100].mean()
    assert float(found.split()[0]) == pytest.approx(expected, abs=1e-4)
    assert found.endswith("one seed each, first 100 images)")


def test_number_that_one_run_lacks_is_a_dash(workdir):
    table = rows(compare([GLOW, "data/runs/quick/digits/histogram/seed0"]))
    assert any(cells[1] == "–" and cells[0] != "–" for cells in table.values())


def test_text_has_a_column_for_each_run(workdir):
    lines = text(compare([GLOW, AFFINE])).splitlines()
    assert len({line.index("1.8") for line in lines if line.startswith("bits/dim  ")}) == 1
    assert not any(line.endswith(" ") for line in lines)


@pytest.mark.parametrize(
    ("paths", "message"),
    [
        ([GLOW], "two different runs"),
        ([GLOW, GLOW], "two different runs"),
        ([GLOW, "data/runs/laptop/mnist/glow/seed0"], "numbers of digits and mnist cannot be compared"),
        (["/elsewhere/quick/digits/glow/seed0", AFFINE], "is not in data/runs of this folder"),
    ],
)
def test_what_cannot_be_compared_is_refused(workdir, paths, message):
    with pytest.raises(ConfigError, match=message):
        compare(paths)
