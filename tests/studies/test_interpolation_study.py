import csv
import json
from pathlib import Path

import numpy as np
import pytest
import torch

from marscf.cli import main
from marscf.config import Fidelity, Interpolation, load_config, loading
from marscf.data.arrays import open_split
from marscf.models import load
from marscf.runs import Run
from marscf.studies import interpolation_study, interpolation_walk
from marscf.studies.interpolation_pairs import choose_pairs
from marscf.studies.interpolation_study import SCORE_COLUMNS, choose, interpolate_run
from marscf.studies.interpolation_walk import LINE, Choice


def read(path):
    with open(path) as stream:
        return list(csv.DictReader(stream))


@pytest.fixture
def run(digits, make_run):
    """A run of the two-mode flow on digits."""
    return make_run("two-modes")


def test_files_hold_all_choices_on_validation_pairs_and_one_on_test_pairs(run, digits):
    assert main(["study", "interpolate", str(run), "--device", "cpu"]) == 0
    saved = np.load(run / "interpolation.npz", allow_pickle=False)
    images, _ = digits
    assert saved["images"].shape == (3, 2, 5, 1, 8, 8) and saved["images"].dtype == np.uint8
    assert list(saved["t"]) == [0, 0.25, 0.5, 0.75, 1] and list(saved["methods"]) == ["linear", "moved"]
    for method in (0, 1):
        assert np.array_equal(saved["images"][:, method, 0], images[saved["pairs"][:, 0]])
        assert np.array_equal(saved["images"][:, method, -1], images[saved["pairs"][:, 1]])
    assert not np.array_equal(saved["images"][:, 0, 2], saved["images"][:, 1, 2])
    assert float(saved["chosen"]) == float(saved["shown"]) == 0.35  # without an extractor the middle one
    assert str(saved["density"]) == "typical" and str(saved["objective"]) == "three-term"

    rows = read(run / "interpolation.csv")
    assert list(rows[0]) == interpolation_study.COLUMNS
    table = {tuple(row[key] for key in ("split", "density", "lambda", "pair", "point")): row for row in rows}
    assert len(table) == len(rows) == 4 * 10 * 5 + 8 * 2 * 5
    ways = {key[:3] for key in table}
    assert len(ways) == 12
    assert {way for way in ways if way[0] == "test"} == {
        ("test", "ignored", "0.0"),
        ("test", "typical", "0.35"),
    }
    for (split, density, _, pair, point), row in table.items():
        line, first, last = (table[split, "ignored", "0.0", pair, at] for at in (point, "0", "4"))
        if density == "typical":
            bound = max(float(at["log_prob_latent"]) for at in (line, first, last))
            assert float(row["log_prob_latent"]) <= bound + 1e-2
        if point in "04":
            assert float(row["image_distance"]) == pytest.approx(0) and float(row["line_distance"]) == 0
    assert read(run / "interpolation_scores.csv") == []  # this scale has no extractor
    assert not list(run.glob("interpolation-parts-*"))


class Net:
    """A network that tells images by their brightest column."""

    card = "a card"

    def metric(self, name):
        return f"{name}[net]"

    def probabilities(self, batch):
        return np.eye(8)[batch.sum((1, 2)).argmax(1)] * 0.9 + 0.1 / 8


def test_scores_are_of_both_splits_and_choose_lambda(run, monkeypatch):
    settings, _ = interpolation_study.settings_of(Run("tiny", "digits", "two-modes", 0))
    given = (settings, Fidelity(extractor="digits-net"))
    monkeypatch.setattr(interpolation_study, "settings_of", lambda config: given)
    monkeypatch.setattr(interpolation_study, "load_extractor", lambda *args, **kwargs: Net())
    written = interpolate_run(run, "cpu")
    rows = read(written[2])
    assert list(rows[0]) == SCORE_COLUMNS and len(rows) == (10 + 2) * (5 + 1)
    assert {row["n"] for row in rows if row["split"] == "val"} == {"4"}
    assert {row["n"] for row in rows if row["split"] == "test"} == {"8"}
    means = {
        (row["density"], float(row["lambda"])): float(row["value"])
        for row in rows
        if row["split"] == "val" and row["t"] == "" and row["density"] != "unbounded"
    }
    candidates = [("ignored", 0.0), *(("typical", value) for value in (0.2, 0.35, 0.5))]
    best = max(candidates, key=lambda way: (means[way], -way[1]))
    saved = np.load(written[0])
    assert float(saved["chosen"]) == best[1]
    shown = best[1] or 0.2
    assert {float(row["lambda"]) for row in rows if row["split"] == "test"} == {0.0, shown}
    assert float(saved["shown"]) == shown


@pytest.mark.parametrize(
    ("scores", "chosen"),
    [
        ({("typical", 0.2): 3.0, ("typical", 0.5): 4.0}, Choice("typical", 0.5)),
        ({("typical", 0.2): 4.0, ("typical", 0.5): 4.0}, Choice("typical", 0.2)),  # of equals the smaller
        ({("typical", 0.2): 2.0, ("typical", 0.5): 1.9}, LINE),
        ({("typical", 0.2): 1.0, ("unbounded", 0.2): 9.0, ("ignored", 0.5): 9.0}, LINE),  # not in question
    ],
)
def test_the_highest_mean_score_is_chosen(scores, chosen):
    settings = Interpolation(dataset="digits", system="x", lambdas=[0.5, 0.2])
    rows = []
    for (density, value), score in {("ignored", 0.0): 2.0, **scores}.items():
        for t, number in ((0.5, 100.0 - score), ("", score)):  # the mean counts, no single t
            row = {"split": "val", "density": density, "lambda": value, "t": t, "value": number}
            rows.append([row.get(column) for column in SCORE_COLUMNS])
    assert choose(rows, settings) == chosen


def test_without_scores_the_middle_lambda_is_chosen():
    settings = Interpolation(dataset="digits", system="x", lambdas=[0.5, 0.2, 0.3], density="unbounded")
    assert choose([], settings) == Choice("unbounded", 0.3)


def test_an_interrupted_study_goes_on_by_batches_of_pairs(run, monkeypatch):
    whole = {path.name: path.read_bytes() for path in interpolate_run(run, "cpu")}
    walk, calls = interpolation_walk.walk, []

    def counting(model, images, *rest):
        if len(calls) == 22:
            raise KeyboardInterrupt
        calls.append(len(images))
        return walk(model, images, *rest)

    monkeypatch.setattr(interpolation_walk, "walk", counting)
    with pytest.raises(KeyboardInterrupt):
        interpolate_run(run, "cpu")
    # 9 points at once, 3 inner points a pair: 4 validation pairs in 10 ways, then 8 test pairs.
    assert calls == [3, 1] * 10 + [3, 3] and len(list(run.glob("interpolation-parts-*/*/*.npz"))) == 22
    calls.clear()
    assert {path.name: path.read_bytes() for path in interpolate_run(run, "cpu")} == whole
    assert calls == [2, 3, 3, 2]


@pytest.mark.parametrize(("images", "pairs", "validation"), [(8, 2, 0), (60, 8, 2), (1000, 8, 4)])
def test_fewer_pairs_where_fewer_images_are_asked_for(run, images, pairs, validation):
    """A path has three inner points, and there are nine choices: two validation pairs make 54 images."""
    interpolate_run(run, "cpu")
    whole = {path: path.read_bytes() for path in run.glob("interpolation*.*")}
    assert main(["study", "interpolate", str(run), "--device", "cpu", "--images", str(images)]) == 0
    assert whole == {path: path.read_bytes() for path in run.glob("interpolation*.*")}
    rows = read(run / "trial-interpolation.csv")
    found = {split: {row["pair"] for row in rows if row["split"] == split} for split in ("test", "val")}
    assert (len(found["test"]), len(found["val"])) == (pairs, validation)
    saved = np.load(run / "trial-interpolation.npz")
    assert len(saved["images"]) == min(3, pairs) and float(saved["chosen"]) == 0.35


def interrupt(*args):
    raise KeyboardInterrupt


def interrupted_at_its_end(run, monkeypatch):
    """Stop a study when all is walked and nothing is written."""
    with monkeypatch.context() as patch, pytest.raises(KeyboardInterrupt):
        patch.setattr(interpolation_study, "_write_csv", interrupt)
        interpolate_run(run, "cpu")


@pytest.mark.parametrize("asked", [{"images": 8}, {"images": 1000}, {"scored": False}])
def test_a_trial_leaves_what_an_interrupted_study_walked(run, monkeypatch, asked):
    interrupted_at_its_end(run, monkeypatch)
    parts = {path: path.read_bytes() for path in run.glob("interpolation-parts-*/*/*.npz")}
    interpolate_run(run, "cpu", **asked)
    assert parts and {path: path.read_bytes() for path in run.rglob("*.npz") if path in parts} == parts
    assert not list(run.glob("trial-interpolation-parts-*"))
    monkeypatch.setattr(interpolation_walk, "walk", interrupt)  # all was walked before
    interpolate_run(run, "cpu")
    assert not list(run.glob("interpolation-parts-*"))


def test_parts_of_other_settings_are_not_used(run, place, monkeypatch):
    interrupted_at_its_end(run, monkeypatch)
    assert list(run.glob("interpolation-parts-*/*/*.npz"))
    place("interpolation", points=4)
    written = interpolate_run(run, "cpu")
    assert np.load(written[0])["images"].shape[2] == 4
    assert not list(run.glob("interpolation-parts-*"))


def test_validation_rows_are_of_validation_images(run):
    interpolate_run(run, "cpu")
    line = [
        row for row in read(run / "interpolation.csv") if row["density"] == "ignored" and row["point"] == "0"
    ]
    model = load(run, "cpu")
    for split, count in (("val", 4), ("test", 8)):
        firsts = open_split("digits", split)[choose_pairs("digits", split, count)[:, 0]]
        expected = model.latent_log_prob(model.encode(torch.from_numpy(firsts)))
        found = [float(r["log_prob_latent"]) for r in line if r["split"] == split and r["lambda"] == "0.0"]
        assert found == pytest.approx(expected.tolist(), rel=1e-5)


def test_a_run_without_settings_of_its_own_takes_the_defaults(run, place):
    place("interpolation", dataset="digits", system="slow")
    settings, _ = interpolation_study.settings_of(Run("tiny", "digits", "two-modes", 0))
    assert settings.points == 9 and settings.iterations == 100
    settings, fidelity = interpolation_study.settings_of(Run("imported", "digits", "two-modes", 0))
    assert settings.points == 9 and fidelity.extractor == "none"


def test_a_model_without_latents_is_refused_in_one_line(digits, capsys):
    from marscf.config import resolve
    from marscf.models import WEIGHTS, build, save

    system = Path("config/systems/histogram.yaml")
    system.write_text(
        json.dumps(
            {"name": "histogram", "title": "h", "model": "histogram.PixelHistogram"}
            | {"cite": "", "options": {}}
        )
    )
    loading._load.cache_clear()
    config = resolve(load_config(), "tiny", "digits", "histogram", 0)
    folder = Path("data/runs/tiny/digits/histogram/seed0")
    model = build(config)
    model.fit(digits[0])
    save(model, config, folder / WEIGHTS)
    assert main(["study", "interpolate", str(folder)]) == 2
    assert "histogram has no latents" in capsys.readouterr().err
    assert main(["study", "interpolate", "data/runs/tiny/digits/slow/seed0"]) == 2
    assert "marscf train" in capsys.readouterr().err
