"""A flow of one's own from `marscf new`, through the whole workflow."""

import csv
import sys

import pytest


@pytest.mark.long
def test_a_new_flow_is_in_the_tables(fresh_checkout):
    fresh_checkout.call("marscf", "new", "my-flow")
    written = ["my_flow.py", "tests/models/test_my_flow.py"]
    fresh_checkout.call(sys.executable, "-m", "ruff", "check", *written)
    fresh_checkout.call(sys.executable, "-m", "ruff", "format", "--check", *written)
    fresh_checkout.call(sys.executable, "-m", "pytest", "-q", written[1])
    fresh_checkout.change("config/systems/my-flow.yaml", {"scales": {"quick": {"training": {"steps": 40}}}})
    fresh_checkout.snakemake("--config", "systems=my-flow,glow")
    report = fresh_checkout.root / "reports" / "quick"
    with open(report / "metrics.csv", newline="") as stream:
        rows = [row for row in csv.DictReader(stream) if row["system"] == "my-flow"]
    metrics = {row["metric"]: float(row["value"]) for row in rows}
    assert 0 < metrics["bits_per_dim"] < 4.1 and "fid[digits-net]" in metrics  # 4.09 of 17 equal levels
    assert "MyFlow" in (report / "tables" / "table_likelihood.html").read_text()
    assert fresh_checkout.planned("--config", "systems=my-flow,glow") == set()
