"""Curves of two runs that differ in precision alone."""

import json

from marscf.cli import main


def write_run(folder, precision, values, **training):
    folder.mkdir()
    config = {
        **{"scale": "quick", "dataset": "digits", "system": "glow", "seed": 0, "seed_value": 0},
        **{"model": "histogram.PixelHistogram", "training": {"precision": precision, **training}},
        "data": {"shape": [1, 8, 8], "grey_levels": 17, "dims": 64, "augment": "none"},
    }
    (folder / "config.json").write_text(json.dumps(config))
    records = [{"step": 10 * i, "validation_bits_per_dim": value} for i, value in enumerate(values)]
    (folder / "log.jsonl").write_text("".join(json.dumps(r) + "\n" for r in [{"step": 1}, *records]))
    return str(folder)


def test_difference_at_the_last_common_step(tmp_path, capsys):
    runs = [
        write_run(tmp_path / "a", "float32", [3.0, 2.5, 2.25, 2.2]),
        write_run(tmp_path / "b", "bfloat16", [3.0, 2.6, 2.26]),
    ]
    assert main(["bench", "precision", *runs, "--out", str(tmp_path / "out")]) == 0
    assert "glow on digits, step 20: 2.2500 and 2.2600 bits/dim" in capsys.readouterr().out
    assert "| glow | digits | 20 | 2.2500 | 2.2600 | +0.0100 |" in (tmp_path / "out/README.md").read_text()
    assert (tmp_path / "out/precision.csv").read_text().count("\n") == 1 + 7
    assert (tmp_path / "out/precision.png").stat().st_size > 1000


def test_what_is_no_pair_is_named(tmp_path, capsys):
    one, other = (write_run(tmp_path / name, "float32", [3.0]) for name in "ab")
    unlike = write_run(tmp_path / "c", "bfloat16", [3.0], steps=7)
    for runs, complaint in (
        ([one], "give one run in each of float32 and bfloat16"),
        ([one, other], "a second run of glow in float32"),
        ([one, unlike], "differ in more than precision: training.steps: 1000, now 7"),
        ([], "give runs with precision"),
    ):
        assert main(["bench", "precision", *runs, "--out", str(tmp_path / "out")]) == 2
        assert complaint in capsys.readouterr().err
    assert not (tmp_path / "out").exists()
