"""No file that is named by another file lies outside its folder."""

import json

import pytest

from marscf.config import Source, parse
from marscf.data.arrays import dataset_digest, open_labels, open_split
from marscf.errors import ConfigError, DataError

OUTSIDE = ["/etc/passwd", "../x", "a/../../x", "~/x", "", "..", "a\\..\\x"]


@pytest.mark.parametrize("file", OUTSIDE)
def test_a_source_lies_in_its_folder(file):
    with pytest.raises(ConfigError, match="a file must lie in its folder"):
        parse(Source, {"file": file}, "x.yaml")
    assert parse(Source, {"file": "a/b..c.gz"}, "x.yaml").file == "a/b..c.gz"


@pytest.mark.parametrize("file", [*OUTSIDE, "a/b"])
@pytest.mark.parametrize("labels", [False, True])
def test_an_array_of_a_manifest_lies_in_its_folder(tmp_path, file, labels):
    entry = {"file": "test.npy", "count": 1, "sha256": "0", "labels": {"file": "l.npy", "sha256": "0"}}
    (entry["labels"] if labels else entry)["file"] = file
    manifest = {
        "name": "x",
        "shape": [1, 8, 8],
        "grey_levels": 17,
        "release": None,
        "splits": {"test": entry},
    }
    (tmp_path / "x").mkdir()
    text = json.dumps({**manifest, "digest": dataset_digest(manifest)})
    (tmp_path / "x" / "manifest.json").write_text(text)
    with pytest.raises(DataError, match="which is not in its folder"):
        (open_labels if labels else open_split)("x", "test", tmp_path)


@pytest.mark.parametrize("name", ["../x", "/x", "..", ".x", ""])
def test_a_dataset_is_a_name(tmp_path, name):
    with pytest.raises(DataError, match="is no name of a dataset"):
        open_split(name, "test", tmp_path)
