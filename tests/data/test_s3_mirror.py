"""A data mirror in an S3 bucket."""

import boto3
import pytest

from marscf.data.prepare import prepare
from marscf.errors import DataError


def test_a_mirror_on_s3_gives_the_same_manifest(tiny, s3, tmp_path):
    with_folder, _ = prepare(tiny.dataset(), tiny.root, str(tiny.mirror))
    for path in tiny.files.values():
        boto3.client("s3").upload_file(str(path), "bucket", f"mirror/tiny/{path.name}")
    manifest, done = prepare(tiny.dataset(), tmp_path / "other" / "datasets", f"{s3}/mirror")
    assert done == "prepared"
    assert manifest == with_folder


@pytest.mark.parametrize("place", ["bucket/elsewhere", "nobody"])
def test_what_is_not_there_is_named(tiny, s3, place, monkeypatch):
    monkeypatch.setattr("marscf.data.download.time.sleep", lambda seconds: None)
    with pytest.raises(DataError, match=rf"s3://{place}/tiny/train-images.gz"):
        prepare(tiny.dataset(), tiny.root, f"s3://{place}")
    assert not list(tiny.root.rglob("*.json"))
