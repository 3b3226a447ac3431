"""A user's own images, without labels, at a scale as it is shipped: README's recipe."""

import csv

import numpy as np
import pytest
import yaml
from PIL import Image

MINE = {
    **{"name": "mine", "title": "My images", "format": "folder", "shape": [3, 16, 16], "validation": 5},
    **{"options": {"path": "photos", "test": 10}, "licence": "mine", "cite": ""},
}


def photos(folder, seed):
    folder.mkdir(exist_ok=True)
    for i, image in enumerate(np.random.default_rng(seed).integers(0, 256, (40, 16, 16, 3), np.uint8)):
        Image.fromarray(image).save(folder / f"{i:02d}.png")


def bits_per_dim(checkout):
    with open(checkout.root / "reports" / "quick" / "metrics.csv", newline="") as stream:
        rows = [row for row in csv.DictReader(stream) if row["metric"] == "bits_per_dim"]
    return {(row["dataset"], row["system"]): (row["value"], int(row["n"])) for row in rows}


@pytest.mark.long
def test_own_images_are_reported_and_measured_again_when_they_change(fresh_checkout):
    root = fresh_checkout.root
    photos(root / "photos", 0)
    (root / "config" / "datasets" / "mine.yaml").write_text(yaml.safe_dump(MINE))
    changes = {"datasets": ["digits", "mine"], "evaluation": {"images": None}}
    fresh_checkout.change("config/scales/quick.yaml", changes)
    fresh_checkout.snakemake("--config", "datasets=mine", "systems=histogram")
    first = bits_per_dim(fresh_checkout)
    assert first.keys() == {("mine", "histogram")} and first["mine", "histogram"][1] == 10
    assert not (root / "data" / "runs" / "quick" / "mine" / "floor.json").exists()
    assert "table_fidelity" not in (root / "reports" / "quick" / "index.html").read_text()

    fresh_checkout.snakemake("--config", "systems=histogram")
    table = (root / "reports" / "quick" / "tables" / "table_fidelity.html").read_text()
    assert "Not of My images: no extractor" in table and "Digits 8×8" in table

    photos(root / "photos", 1)
    fresh_checkout.snakemake("--config", "datasets=mine", "systems=histogram")
    assert bits_per_dim(fresh_checkout)["mine", "histogram"] != first["mine", "histogram"]
