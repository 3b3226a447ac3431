from pathlib import Path

import pytest
from interpolation_files import REAL_POINT, WAYS, make_interpolation, seal_interpolation

from marscf.reporting.interpolation_table import sensitivity_table

LINE = WAYS["ignored", 0.0]


def rows_of(runs):
    table = sensitivity_table(runs)
    return [dict(zip(table.columns, row, strict=True)) for row in table.rows]


def test_real_images_line_and_every_choice_have_a_row_by_split(workdir):
    names = [(row["pairs of"].value, row["images"].text) for row in rows_of(workdir[1:2])]
    assert names == [
        ("val", "real images"),
        ("val", "straight line"),
        ("val", "λ = 0.2, typical density"),
        ("val", "λ = 0.5, typical density (chosen)"),
        ("val", "λ = 0.5, unbounded density"),
        ("val", "λ = 0.2, density ignored"),
        ("val", "λ = 0.5, density ignored"),
        ("test", "real images"),
        ("test", "straight line"),
        ("test", "λ = 0.5, typical density (chosen)"),
    ]


def test_where_no_choice_beats_the_line_it_is_the_line_that_was_chosen(workdir):
    make_interpolation(Path(), workdir[1], chosen=0.0, shown=0.2)
    names = [row["images"].text for row in rows_of(workdir[1:2])]
    assert [name for name in names if "chosen" in name] == ["straight line (chosen)"] * 2
    assert names[-1] == "λ = 0.2, typical density"


def test_numbers_are_means_over_the_inner_points_and_gains_over_the_line(workdir):
    rows = rows_of(workdir[1:2])[:7]
    for row, values in zip(rows, (REAL_POINT, *WAYS.values()), strict=True):
        latent, image, moved, near, score = values
        assert row["log p(z)"].value == pytest.approx(latent - 1)  # of the pairs 0, 1, 2 the mean
        assert row["log p(z)"].text == f"{latent - 1:.2f} ± 0.58"
        assert row["log p(x)"].value == pytest.approx(image)
        assert row["score"].value == pytest.approx(score)
        if row["images"].text == "real images":
            assert row["denser than both ends"].text == row["distance from the line"].text == "–"
            continue
        assert row["distance from the line"].value == pytest.approx(moved)
        assert row["distance to the nearer end"].value == pytest.approx(near)
        assert row["denser than both ends"].text == "9 of 9"
        if values is LINE:
            assert row["gain in log p(z)"].text == row["gain in score"].text == "–"
        else:
            assert row["gain in log p(z)"].value == pytest.approx(latent - LINE[0])
            assert row["gain in log p(x)"].value == pytest.approx(image - LINE[1])
            assert row["gain in score"].value == pytest.approx(score - LINE[4])
            assert row["gain in score"].text.endswith("± 0.25")


def test_points_denser_than_both_ends_are_counted_pair_by_pair(workdir):
    path = Path(workdir[1]) / "interpolation.csv"
    lines = path.read_text().splitlines()
    # One end of the second pair is denser than the line's -81 there.
    lines = [
        line.replace(",-91,", ",-80.5,") if line.startswith("val,ignored,0.0,1,4,") else line
        for line in lines
    ]
    path.write_text("\n".join(lines) + "\n")
    seal_interpolation(path.parent)
    counts = {row["images"].text: row["denser than both ends"].text for row in rows_of(workdir[1:2])[:7]}
    assert counts["straight line"] == "6 of 9" and counts["λ = 0.2, typical density"] == "9 of 9"
    assert counts["λ = 0.5, density ignored"] == "6 of 9"


def test_a_scale_without_scores_has_the_rest(workdir):
    path = Path(workdir[1]) / "interpolation_scores.csv"
    path.write_text(path.read_text().splitlines()[0] + "\n")
    seal_interpolation(path.parent)
    rows = rows_of(workdir[1:2])
    assert {row["score"].text for row in rows} == {row["gain in score"].text for row in rows} == {"–"}
    assert rows[1]["log p(z)"].value == pytest.approx(-81)
