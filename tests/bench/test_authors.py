"""A checkout of the authors' code is asked for by name; it is not here to be run."""

import pytest

from marscf.cli import main

SMALL = ["--steps", "1", "--channels", "32", "--batch-size", "2", "--repeats", "1", "--device", "cpu"]


@pytest.mark.parametrize(
    ("extra", "complaint"),
    [([], "no marscf_main.py"), (["--side", "16"], "--side 16"), (["--levels", "2"], "--levels 2")],
)
def test_what_cannot_be_measured_is_named(tmp_path, capsys, extra, complaint):
    code = tmp_path / "code"
    code.mkdir()
    if "--levels" in extra:
        (code / "marscf_main.py").touch()
    given = ["--authors-code", str(code), *SMALL, *extra, "--out", str(tmp_path / "out")]
    assert main(["bench", "training", *given]) == 2
    assert complaint in capsys.readouterr().err
    assert not (tmp_path / "out").exists()
