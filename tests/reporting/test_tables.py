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
    rows = [dict(zip(table.columns, row, strict=True)) for row in table.rows]
    assert [row["seed"].text for row in rows] == ["0", "1", "mean of 2 seeds", "0", "0"]
    assert rows[0]["status"].text == "see the mean over the seeds"
    last = rows[2]
    assert last["system"].value == "glow"
    assert last["bits/dim"].value == pytest.approx(1.90 + 0.1)
    assert last["bits/dim"].text == "2.00 ± 0.14"  # sd of 1.9 and 2.1


def test_fidelity_has_precision_and_recall_with_their_extractor_and_the_sanity_rows(workdir):
    table = tables.fidelity(read_metrics(collect("quick", workdir)))
    names = ["FID", "KID", "IS", "precision", "recall"]
    shown = [f"{name} (digits-net)" for name in names]
    assert [*table.columns][2:] == [shown[0], "published", "status", *shown[1:], "source"]
    assert list(table.details) == [*shown[1:], "source"]
    rows = {row[1].value: dict(zip(table.columns, row, strict=True)) for row in table.rows}
    assert rows["glow"]["precision (digits-net)"].value == pytest.approx(0.3 / 1.90)
    assert rows["glow"]["recall (digits-net)"].value == pytest.approx(0.9 - 0.19)
    assert rows["real"]["precision (digits-net)"].value == 0.7
    assert rows["real"]["recall (digits-net)"].text == "–"  # not measured: no number stands in its place
    assert rows["real"]["status"].text == tables.SANITY["real"]
    assert rows["histogram"]["status"].text == tables.SANITY["histogram"]


def published(metrics):
    table = tables.published_numbers(metrics)
    assert all(len(row) == len(table.columns) for row in table.rows)
    return [{name: cell for name, cell in zip(table.columns, row, strict=True)} for row in table.rows]


def test_published_numbers_say_their_bound_and_what_is_no_system_here(workdir):
    rows = published(read_metrics(collect("quick", workdir)))
    own = [row for row in rows if "released" not in row["status"].text]
    status = {(row["dataset"].value, row["system"].value): row["status"].text for row in own}
    assert status["cifar10", "realnvp"] == status["mnist-28", "i-resnet"] == "not a system of this benchmark"
    assert status["imagenet64", "glow"] == "not a dataset of this benchmark"
    assert status["cifar10", "glow"] == "not measured at scale quick"
    assert {row["published"].text for row in rows if row not in own} >= {"3.22", "3.39", "3.280", "0.970"}
    assert {"RealNVP", "i-ResNet", "FFJORD", "PixelRNN"} <= {row["system"].text for row in rows}
    learned = next(row for row in rows if row["published"].text == "3.08")
    assert learned["bound"].text == "ELBO, learned dequantisation" and "4,096 draws" in learned["note"].text
    assert next(row for row in rows if row["published"].text == "3.29")["bound"].text.startswith("ELBO, unif")


def test_seeds_are_compared_with_a_published_number_by_their_mean(workdir):
    metrics = read_metrics(collect("quick", workdir))
    row = metrics[metrics["system"].eq("glow") & metrics["metric"].eq("bits_per_dim")]
    protocol = row["protocol"].item().replace("dims 64", "dims 3072")
    row = row.assign(scale="paper", dataset="cifar10", n=10_000, protocol=protocol)
    seeds = pandas.concat([row.assign(seed=k, value=value) for k, value in enumerate((3.35, 3.36, 3.40))])
    (found,) = (row for row in published(seeds) if row["measured"].text != "–")
    assert (found["published"].text, found["measured"].value) == ("3.35", pytest.approx(3.37))
    assert found["status"].text == "reproduced (0.020 above; 3 seeds, tolerance 0.066)"
    table = tables.likelihood(seeds)
    assert [row[table.columns.index("status")].kind for row in table.rows] == [
        *3 * ["incomparable"],
        "reproduced",
    ]
