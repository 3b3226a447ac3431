"""The benchmark's report, from the records that are shipped."""

import re
import shutil
from pathlib import Path

from marscf.bench.report import write_report

SHIPPED = Path(__file__).parents[2] / "reports" / "bench"


def test_the_shipped_report_is_of_the_shipped_records(tmp_path):
    folder = tmp_path / "bench"
    shutil.copytree(SHIPPED, folder)
    (folder / "README.md").unlink()
    assert write_report(folder).read_text() == (SHIPPED / "README.md").read_text()


def test_its_rows_have_a_cell_for_each_column():
    tables = re.findall(r"(?:^\|.*\n)+", (SHIPPED / "README.md").read_text(), flags=re.MULTILINE)
    assert len(tables) >= 4
    for table in tables:
        assert len({line.count("|") for line in table.splitlines()}) == 1, table.splitlines()[0]
