import csv
import json
from pathlib import Path

import numpy as np
import pytest
import torch
from two_modes import TwoModes

from marscf.cli import main
from marscf.config import load_config
from marscf.data.arrays import open_split
from marscf.errors import ConfigError, EvaluationError
from marscf.studies import interpolation_study
from marscf.studies.interpolation_study import choose_pairs, exact_latents, interpolate_run


def read(path):
    with open(path) as stream:
        return list(csv.DictReader(stream))


@pytest.fixture
def run(digits, make_run):
    """A run of the two-mode flow on digits."""
    return make_run("two-modes")


def test_files_hold_both_paths_with_exact_ends_and_higher_densities(run, digits):
    assert main(["study", "interpolate", str(run), "--device", "cpu"]) == 0
    saved = np.load(run / "interpolation.npz", allow_pickle=False)
    images, _ = digits
    assert saved["images"].shape == (3, 2, 5, 1, 8, 8) and saved["images"].dtype == np.uint8
    assert list(saved["t"]) == [0, 0.25, 0.5, 0.75, 1] and list(saved["methods"]) == ["linear", "ours"]
    for method in (0, 1):
        assert np.array_equal(saved["images"][:, method, 0], images[saved["pairs"][:, 0]])
        assert np.array_equal(saved["images"][:, method, -1], images[saved["pairs"][:, 1]])
    assert not np.array_equal(saved["images"][:, 0, 2], saved["images"][:, 1, 2])

    rows = read(run / "interpolation.csv")
    assert list(rows[0]) == interpolation_study.COLUMNS
    table = {(row["pair"], row["method"], row["lambda"], row["point"]): row for row in rows}
    assert len(table) == len(rows) == 3 * 4 * 5
    for (pair, method, _, point), row in table.items():
        line = table[pair, "linear", "0.0", point]
        for density in ("log_prob_latent", "log_prob_image"):
            gain = float(row[density]) - float(line[density])
            assert gain > 0 if method == "ours" and point in "123" else gain == pytest.approx(0)
        if point in "04":
            assert float(row["distance"]) == 0
    assert {row["lambda"] for row in rows if row["method"] == "ours"} == {"0.2", "0.35", "0.5"}
    assert read(run / "interpolation_scores.csv") == []  # this scale has no extractor
    assert not list(run.glob("interpolation-parts-*"))


def test_an_interrupted_study_goes_on_by_batches_of_pairs(run, monkeypatch):
    whole = {path.name: path.read_bytes() for path in interpolate_run(run, "cpu")}
    walk, calls = interpolation_study.walk, []

    def counting(model, ends, *rest):
        if len(calls) == 4:
            raise KeyboardInterrupt
        calls.append(len(ends))
        return walk(model, ends, *rest)

    monkeypatch.setattr(interpolation_study, "walk", counting)
    with pytest.raises(KeyboardInterrupt):
        interpolate_run(run, "cpu")
    # 9 points at once: the 3 drawn pairs have 3 λ and 3 inner points each, the 5 others one λ.
    assert calls == [1, 1, 1, 3] and len(list(run.glob("interpolation-parts-*/*/*.npz"))) == 4
    monkeypatch.setattr(interpolation_study, "walk", walk)
    assert {path.name: path.read_bytes() for path in interpolate_run(run, "cpu")} == whole


def test_parts_of_other_settings_are_not_used(run, place, monkeypatch):
    def interrupted(*args):
        raise KeyboardInterrupt

    with monkeypatch.context() as patch, pytest.raises(KeyboardInterrupt):
        patch.setattr(interpolation_study, "_write_csv", interrupted)
        interpolate_run(run, "cpu")
    assert list(run.glob("interpolation-parts-*/*/*.npz"))
    place("interpolation", points=4)
    written = interpolate_run(run, "cpu")
    assert np.load(written[0])["images"].shape[2] == 4
    assert not list(run.glob("interpolation-parts-*"))


def test_distances_are_in_the_latents_standard_deviations(run, place):
    files = {}
    for distance in ("standardised", "plain"):
        place("interpolation", distance=distance)
        interpolate_run(run, "cpu")
        files[distance] = read(run / "interpolation.csv")
    rows = zip(files["standardised"], files["plain"], strict=True)
    linear = [
        (float(a["distance"]), float(b["distance"]))
        for a, b in rows
        if a["method"] == "linear" and a["t"] == "0.5"
    ]
    images = torch.from_numpy(open_split("digits", "test")[choose_pairs("digits", 8).ravel()])
    variance = TwoModes((1, 8, 8), 17).encode(images)[0].var().item()
    assert all(ours * variance == pytest.approx(plain, rel=1e-4) for ours, plain in linear)


def test_pairs_are_seeded_disjoint_and_of_two_classes(digits):
    pairs = choose_pairs("digits", 20)
    _, classes = digits
    assert len(np.unique(pairs)) == 40 and (classes[pairs[:, 0]] != classes[pairs[:, 1]]).all()
    assert np.array_equal(choose_pairs("digits", 5), pairs[:5])
    with pytest.raises(ConfigError, match="31 are asked for"):
        choose_pairs("digits", 31)


def test_a_run_without_settings_of_its_own_takes_the_defaults(run, place):
    place("interpolation", dataset="digits", system="slow")
    settings, _ = interpolation_study.settings_of(
        {"scale": "tiny", "dataset": "digits", "system": "two-modes"}
    )
    assert settings.points == 9 and settings.iterations == 100
    settings, fidelity = interpolation_study.settings_of(
        {"scale": "imported", "dataset": "digits", "system": "two-modes"}
    )
    assert settings.points == 9 and fidelity.extractor == "none"


def test_float64_serves_where_float32_does_not_give_the_images_back():
    class Coarse(TwoModes):
        def decode(self, latents):
            y = super().decode(latents)
            return y if y.dtype == torch.float64 else y + 0.1

    images = torch.randint(0, 17, (4, 1, 4, 4), dtype=torch.uint8)
    model, latents = exact_latents(Coarse((1, 4, 4), 17), images)
    assert latents[0].dtype == torch.float64 and torch.equal(model.to_discrete(model.decode(latents)), images)

    class Wrong(TwoModes):
        def decode(self, latents):
            return super().decode(latents) + 0.1

    with pytest.raises(EvaluationError, match="do not come back"):
        exact_latents(Wrong((1, 4, 4), 17), images)


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
    load_config.cache_clear()
    config = resolve(load_config(), "tiny", "digits", "histogram", 0)
    folder = Path("data/runs/tiny/digits/histogram/seed0")
    model = build(config)
    model.fit(digits[0])
    save(model, config, folder / WEIGHTS)
    assert main(["study", "interpolate", str(folder)]) == 2
    assert "histogram has no latents" in capsys.readouterr().err
    assert main(["study", "interpolate", "data/runs/tiny/digits/slow/seed0"]) == 2
    assert "marscf train" in capsys.readouterr().err
