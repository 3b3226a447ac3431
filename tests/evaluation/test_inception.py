"""A report without Inception's weights: a record instead of an error, and one line that says what to do."""

import pytest

from marscf.cli import main
from marscf.errors import CheckpointError
from marscf.evaluation.inception import (
    INCEPTION_FILE,
    INCEPTION_FOLDER,
    at_hand,
    recorded_missing,
    without,
)


@pytest.fixture
def offline(prepared, monkeypatch):
    """A working directory without the weights, and no network."""
    monkeypatch.setenv("MARSCF_OFFLINE", "1")
    return prepared


def test_weights_that_cannot_be_had_are_noted_in_one_line(offline, capsys):
    assert recorded_missing() is None  # nobody looked
    assert main(["evaluate", "inception"]) == 0
    line = capsys.readouterr().out.strip()
    assert line == f"marscf evaluate: {without(recorded_missing())}" and "\n" not in line
    for word in ("FID", INCEPTION_FILE, str(INCEPTION_FOLDER), "https://", "--offline", "snakemake"):
        assert word in line


def test_the_note_goes_when_the_weights_are_there(offline, monkeypatch, capsys):
    assert main(["evaluate", "inception"]) == 0 and at_hand() is None
    path = offline / "mirror of ours" / "inception" / INCEPTION_FILE
    path.parent.mkdir(parents=True)
    path.write_text("weights")
    monkeypatch.setenv("MARSCF_MIRROR", str(path.parents[1]))
    assert at_hand() == path
    assert main(["evaluate", "inception"]) == 0 and recorded_missing() is None
    assert str(path) in capsys.readouterr().out


def test_a_download_that_fails_is_noted_too(prepared, monkeypatch):
    from torch_fidelity import feature_extractor_inceptionv3

    monkeypatch.delenv("MARSCF_OFFLINE", raising=False)
    monkeypatch.setattr(feature_extractor_inceptionv3, "URL_INCEPTION_V3", "memory://nowhere/file.pth")
    assert main(["evaluate", "inception"]) == 0
    assert "memory://nowhere/file.pth" in recorded_missing()


def test_a_file_that_was_named_and_is_not_there_is_an_error_at_once(offline, monkeypatch):
    monkeypatch.setenv("MARSCF_INCEPTION", "elsewhere.pth")
    with pytest.raises(CheckpointError, match=r"no Inception weights at elsewhere\.pth"):
        at_hand()
