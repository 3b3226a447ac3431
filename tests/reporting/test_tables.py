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
