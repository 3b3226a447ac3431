import pytest

from marscf.reporting.published import candidates, comparable, obstacle, published_numbers, status

ROW = {
    **{"scale": "paper", "dataset": "cifar10", "system": "marscf-mixlogcdf", "metric": "bits_per_dim"},
    **{"value": 3.243, "stderr": 0.004, "n": 10_000, "protocol": "10000 test images, dims 3072, float32"},
}
FID = {**ROW, "metric": "fid", "value": 41.0, "stderr": 0.2, "n": 50_000, "protocol": "Inception"}


def test_table_has_a_source_for_each_number_and_no_cell_twice():
    entries = published_numbers()
    assert all(entry.source and entry.images and entry.dims for entry in entries)
    keys = [(entry.dataset, entry.system, entry.metric) for entry in entries]
    assert len(set(keys)) == len(keys)


@pytest.mark.parametrize(
    ("change", "kind", "words"),
    [
        ({}, "reproduced", "reproduced"),
        ({"value": 3.30}, "short", "short by 0.060"),
        ({"value": 3.10}, "better", "better by 0.140"),
        ({"value": 3.30, "scale": "gpu-hour"}, "short", "scale gpu-hour: smaller model"),
        ({"n": 9984}, "incomparable", "over 9,984 images, published over 10,000"),
        ({"protocol": "dims 1024"}, "incomparable", "1024 dimensions"),
    ],
)
def test_status_of_bits_per_dim(change, kind, words):
    row = {**ROW, **change}
    found = status(row, candidates(row)[0])
    assert found.kind == kind
    assert words in found.text


def test_fid_of_another_extractor_never_stands_beside_a_published_one():
    assert comparable(FID).text == "41.9"
    own = {**FID, "metric": "fid[digits-net]"}
    assert comparable(own) is None
    assert "digits-net" in status(own, candidates(own)[0]).text


def test_variant_of_a_dataset_is_said_and_not_compared():
    row = {**ROW, "dataset": "mnist", "value": 0.9, "protocol": "10000 test images, dims 1024"}
    assert comparable(row) is None
    assert "published on" in obstacle(row, candidates(row)[0])


def test_only_the_release_that_papers_used_is_compared():
    row = {**ROW, "dataset": "imagenet32", "system": "glow", "value": 4.1, "n": 49_999}
    for ending, obstructed in (
        ("oord-2016", False),
        ("oord-2016-unverified", True),
        ("chrabaszcz-2017", True),
    ):
        named = {**row, "protocol": f"dims 3072, float32, release {ending}"}
        assert bool(obstacle(named, candidates(named)[0])) is obstructed
    assert "release unknown" in obstacle(row, candidates(row)[0])


def test_nothing_is_published_on_digits():
    assert candidates({**ROW, "dataset": "digits"}) == []
