from pathlib import Path

import pytest

from marscf.reporting import tables
from marscf.reporting.collect import collect
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
    assert [cell.value for cell in line[3:7]] == [""] * 4 and line[7].value == 10
    for row, (value, gains) in zip(ours, GAINS.items(), strict=True):
        # factors 1 and 3 of the first pair, 2 and 6 of the second: their means are 2 and 4
        for mean, least, gain in ((row[3], row[4], gains[0]), (row[5], row[6], gains[1])):
            assert mean.value == pytest.approx(3 * gain)
            assert least.value == pytest.approx(min(gain, 6 * gain))
        assert row[7].value == pytest.approx(3 * value)
    assert ours[1][3].text == "12.0 ± 4"  # 8 and 16


def test_the_page_has_it(study):
    Path("reports/quick/tables").mkdir(parents=True)
    tables.save(sensitivity_table([study]), "reports/quick/tables/table_interpolation")
    collect("quick", [study])
    page = write_index("quick").read_text()
    assert 'id="table_interpolation"' in page and "λ1 = 0.5" in page
