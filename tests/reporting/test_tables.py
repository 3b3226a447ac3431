import pandas
import pytest

from marscf.reporting import tables
from marscf.reporting.collect import collect, read_metrics


def test_several_seeds_have_a_row_of_their_spread(workdir):
    metrics = read_metrics(collect("quick", workdir))
    assert "seed" not in tables.likelihood(metrics).columns
    more = metrics[metrics["system"] == "glow"].copy()
    more["seed"] = 1
    more.loc[more["metric"] == "bits_per_dim", "value"] += 0.2
    table = tables.likelihood(pandas.concat([metrics, more]))
    assert all(len(row) == len(table.columns) for row in table.rows)
    last = dict(zip(table.columns, table.rows[-1], strict=True))
    assert (last["system"].value, last["seed"].text) == ("glow", "2 seeds")
    assert last["bits/dim"].value == pytest.approx(1.90 + 0.1)
    assert last["bits/dim"].text == "2.00 ± 0.14"  # sd of 1.9 and 2.1


def test_fidelity_has_precision_and_recall_with_their_extractor_and_the_sanity_rows(workdir):
    table = tables.fidelity(read_metrics(collect("quick", workdir)))
    names = ["FID", "KID", "IS", "precision", "recall"]
    assert [*table.columns][2:7] == [f"{name} (digits-net)" for name in names]
    rows = {row[1].value: dict(zip(table.columns, row, strict=True)) for row in table.rows}
    assert rows["glow"]["precision (digits-net)"].value == pytest.approx(0.3 / 1.90)
    assert rows["glow"]["recall (digits-net)"].value == pytest.approx(0.9 - 0.19)
    assert rows["real"]["precision (digits-net)"].value == 0.7
    assert rows["real"]["recall (digits-net)"].text == "–"  # not measured: no number stands in its place
    assert rows["real"]["status"].text == tables.SANITY["real"]
    assert rows["histogram"]["status"].text == tables.SANITY["histogram"]
