import json
from pathlib import Path

import pytest

from marscf.errors import ConfigError, MarscfError
from marscf.files import digest
from marscf.reporting.collect import collect, read_metrics
from marscf.reporting.metrics import COLUMNS


def test_every_measurement_becomes_one_row(workdir):
    frame = read_metrics(collect("quick", workdir))
    assert list(frame.columns) == COLUMNS
    assert not frame.duplicated(["dataset", "system", "seed", "metric"]).any()
    glow = frame[frame["system"] == "glow"].set_index("metric")
    assert glow.loc["bits_per_dim", "value"] == 1.90
    assert (glow.loc["bits_per_dim", "stderr"], glow.loc["bits_per_dim", "n"]) == (0.01, 360)
    assert {"fid[digits-net]", "parameters", "train_images_per_second", "sampling_ms[16]"} <= set(glow.index)
    assert frame[frame["system"] == "real"]["metric"].tolist() == ["fid[digits-net]", "precision[digits-net]"]
    histogram = set(frame[frame["system"] == "histogram"]["metric"])
    assert "train_images_per_second" not in histogram  # nothing was trained: no row rather than a hole


def test_same_bytes_whatever_the_order_of_the_runs(workdir):
    first = Path(collect("quick", workdir)).read_bytes()
    assert Path(collect("quick", workdir[::-1])).read_bytes() == first


def test_nested_values_are_those_of_the_table_without_timings(workdir):
    frame = read_metrics(collect("quick", workdir)).set_index(["dataset", "system", "metric"])["value"]
    nested = json.loads(Path("reports/quick/metrics.json").read_text())
    glow = nested["digits"]["glow"]["seed0"]
    assert glow["bits_per_dim"] == frame["digits", "glow", "bits_per_dim"]
    assert "parameters" in glow and not [name for name in glow if name.startswith(("sampling", "train"))]


def write_again(path, content):
    """Write a measurement file whose content is right."""
    del content["digest"]
    path.write_text(json.dumps({**content, "digest": digest(content)}))


def test_values_survive_to_the_last_bit(workdir):
    path = Path(workdir[0]) / "likelihood.json"
    content = json.loads(path.read_text())
    content["measurements"][0]["value"] = 0.1 + 0.2
    write_again(path, content)
    frame = read_metrics(collect("quick", workdir))
    chosen = frame[(frame["system"] == "glow") & (frame["metric"] == "bits_per_dim")]
    assert chosen["value"].item() == 0.1 + 0.2


@pytest.mark.parametrize("value", ["NaN", "Infinity"])
def test_nan_is_an_error_and_leaves_no_table(workdir, value):
    path = Path(workdir[0]) / "likelihood.json"
    path.write_text(path.read_text().replace('"value": 1.9', f'"value": {value}'))
    with pytest.raises(MarscfError, match=r"likelihood\.json is damaged or was altered"):
        collect("quick", workdir)
    assert not Path("reports/quick/metrics.csv").exists()


def test_measurements_of_another_run_are_refused(workdir):
    (Path(workdir[0]) / "likelihood.json").write_bytes((Path(workdir[1]) / "likelihood.json").read_bytes())
    with pytest.raises(
        MarscfError, match=r"was measured of .*, not of its folder; run: marscf evaluate likelihood"
    ):
        collect("quick", workdir)


def test_run_of_another_scale_is_refused(workdir):
    with pytest.raises(ConfigError, match="scale laptop"):
        collect("quick", ["data/runs/laptop/mnist/glow/seed0"])


def test_missing_receipt_is_one_line(workdir):
    (Path(workdir[0]) / "receipt.json").unlink()
    with pytest.raises(MarscfError, match=r"no .*receipt\.json; run: marscf train"):
        collect("quick", workdir)


def test_contradicting_files_are_refused(workdir):
    path = Path(workdir[0]) / "receipt.json"
    path.write_text(path.read_text().replace("12345", "12346"))
    with pytest.raises(MarscfError, match=r"parameters is 12345\.0 and also 12346\.0"):
        collect("quick", workdir)


def test_images_seen_are_those_of_all_steps(workdir):
    frame = read_metrics(collect("quick", workdir))
    seen = frame[frame["metric"] == "images_seen"].set_index("system")["value"].to_dict()
    assert seen == {"glow": 600 * 64, "marscf-affine": 600 * 64}  # the histogram is not trained by steps


def test_imported_weights_are_named_in_the_protocol(workdir):
    path = Path(workdir[0]) / "receipt.json"
    content = {
        **json.loads(path.read_text()),
        "imported_from": "marscf_cifar10_affine_32_512.pt",
        "imported_sha256": "0123456789abcdef" * 4,
    }
    path.write_text(json.dumps(content))
    frame = read_metrics(collect("quick", workdir))
    words = "weights imported from marscf_cifar10_affine_32_512.pt, sha256 0123456789abcdef"
    named = frame[frame["protocol"].str.endswith(words)]
    assert set(named["system"]) == {"glow"} and "bits_per_dim" in set(named["metric"])


def test_a_metric_that_is_not_declared_is_an_error_that_says_where_to_declare_it(workdir):
    path = Path(workdir[0]) / "likelihood.json"
    write_again(path, json.loads(path.read_text().replace('"nats_per_image"', '"nats_per_picture"')))
    with pytest.raises(
        MarscfError,
        match=r"likelihood\.json: metric 'nats_per_picture' is not declared; did you mean 'nats_per_image'.*"
        r"METRICS of marscf/reporting/metrics\.py",
    ):
        collect("quick", workdir)


def test_a_run_of_another_folder_is_not_taken_for_the_one_of_its_name_here(workdir):
    with pytest.raises(ConfigError, match="is not in data/runs of this folder"):
        collect("quick", [f"/elsewhere/{workdir[0]}", *workdir[1:]])


@pytest.mark.parametrize("scale", ["quick", "laptop", "cpu-hours", "gpu-hour"])
def test_the_references_made_before_have_declared_metrics_only(scale, workdir):
    reference = Path(__file__).parents[2] / "reports" / "reference" / scale / "metrics.csv"
    assert len(read_metrics(reference))
    table = reference.read_text().replace("bits_per_dim,", "bits_per_dimension,")
    with pytest.raises(MarscfError, match="'bits_per_dimension' is not declared"):
        read_metrics(written(table))


def written(text):
    path = Path("metrics.csv")
    path.write_text(text)
    return path
