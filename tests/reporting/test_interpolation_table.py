from pathlib import Path

import pytest

from marscf.reporting import tables
from marscf.reporting.collect import collect, read_metrics
from marscf.reporting.findings import findings, plain
from marscf.reporting.index import write_index
from marscf.reporting.interpolation import sensitivity_table

GAINS = {0.2: (1.0, -0.5), 0.5: (4.0, 2.0)}  # λ1 -> gain in log p(z) and log p(x) of the first inner point


@pytest.fixture
def study(workdir):
    """A run's densities: two pairs, of which the second gains twice as much, and two inner points."""
    rows = ["pair,method,lambda,point,t,log_prob_latent,log_prob_image,distance"]
    for pair in (0, 1):
        for point, t in enumerate((0, 0.25, 0.75, 1)):
            rows.append(f"{pair},linear,0.0,{point},{t},{-90 - pair},{-95 + point},{10 * (point in (1, 2))}")
            for value, (latent, image) in GAINS.items():
                factor = (1 + pair) * (0, 1, 3, 0)[point]
                gained = f"{-90 - pair + factor * latent},{-95 + point + factor * image}"
                rows.append(f"{pair},ours,{value},{point},{t},{gained},{value * factor}")
    (Path(workdir[1]) / "interpolation.csv").write_text("\n".join(rows) + "\n")
    return workdir[1]


def test_gains_are_over_the_straight_line_at_interior_points(study):
    table = sensitivity_table([study])
    assert [row[2].text for row in table.rows] == ["straight line", "λ1 = 0.2", "λ1 = 0.5"]
    line, *ours = table.rows
    assert [cell.value for cell in line[3:9]] == [""] * 6 and line[9].value == 10
    for row, (value, gains) in zip(ours, GAINS.items(), strict=True):
        # factors 1 and 3 of the first pair, 2 and 6 of the second: their means are 2 and 4
        for (mean, least, higher), gain in zip((row[3:6], row[6:9]), gains, strict=True):
            assert mean.value == pytest.approx(3 * gain)
            assert least.value == pytest.approx(min(gain, 6 * gain))
            assert higher.text == ("at 4 of 4" if gain > 0 else "at 0 of 4")
        assert row[9].value == pytest.approx(3 * value)
    assert ours[1][3].text == "12.0 ± 4"  # 8 and 16


def test_finding_counts_where_each_density_is_higher_and_asks_it_of_the_optimised_one(study):
    metrics = read_metrics(collect("quick", [study]))

    def found():
        return next(f for f in findings(metrics, "quick") if f.claim.startswith("All of the way"))

    assert found().verdict == "holds"
    assert "log p(z), which is optimised, is higher at 8 of 8 interior points" in plain(found().evidence)
    assert "log p(x) of the image, which is not, at 4 of 8 interior points" in found().evidence
    path = Path(study) / "interpolation.csv"
    moved = "0,ours,0.2,1,0.25,-89.0,"  # to a place less dense than the line's
    assert moved in path.read_text()
    path.write_text(path.read_text().replace(moved, "0,ours,0.2,1,0.25,-90.5,"))
    assert found().verdict == "fails" and "at 7 of 8" in found().evidence


def test_the_page_has_it(study):
    Path("reports/quick/tables").mkdir(parents=True)
    tables.save(sensitivity_table([study]), "reports/quick/tables/table_interpolation")
    collect("quick", [study])
    page = write_index("quick").read_text()
    assert 'id="table_interpolation"' in page and "λ1 = 0.5" in page
