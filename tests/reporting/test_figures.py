from pathlib import Path

import numpy as np
import pytest
from interpolation_files import make_interpolation, seal_interpolation

from marscf import seals
from marscf.data.arrays import open_split
from marscf.errors import MarscfError
from marscf.images import tiled
from marscf.reporting import (
    extrapolation_drawn,
    interpolation,
    latents,
    samples,
    speed,
    style,
    training_curves,
)


@pytest.fixture(autouse=True)
def closing():
    from matplotlib import pyplot

    pyplot.switch_backend("Agg")
    yield
    pyplot.close("all")


def sweep():
    return speed.read_sweep("reports/quick/sampling_speed.csv")


DRAWINGS = {
    "samples": lambda runs: samples.sample_grids(runs[:2]),
    "speed": lambda runs: speed.sampling_speed(sweep()),
    "paths": lambda runs: interpolation.paths(runs[1:2]),
    "scores": lambda runs: interpolation.scores(runs[1:2]),
    "curves": lambda runs: training_curves.curves(runs),
    "extrapolation": lambda runs: extrapolation_drawn.figure(runs),
    "latents": lambda runs: latents.correlations(runs[:2]),
}


@pytest.mark.parametrize("name", DRAWINGS)
def test_drawn_twice_gives_the_same_bytes(workdir, name):
    pairs = []
    for out in ("first", "second"):
        style.save(DRAWINGS[name](workdir), out)
        pairs.append([Path(f"{out}{suffix}").read_bytes() for suffix in (".png", ".svg")])
    assert pairs[0] == pairs[1]
    png, svg = pairs[0]
    assert png.startswith(b"\x89PNG") and b"<svg" in svg and b"<dc:date>" not in svg


@pytest.mark.parametrize("name", DRAWINGS)
def test_every_title_is_text(workdir, monkeypatch, name):
    """Unbalanced mathematics would be an error; what is balanced would not be drawn as it stands."""
    for kind in ("system", "dataset"):
        monkeypatch.setattr(f"marscf.reporting.sources.{kind}_title", lambda name: "Notes of $5_to_$10")
    style.save(DRAWINGS[name](workdir), "out")


def test_grey_levels_are_stretched(workdir):
    found = samples.sources.samples(workdir[0])
    assert (found.min(), found.max()) == (0, 255)  # 0 … 16 on file


def test_titles_say_dataset_bits_per_dim_and_seed(workdir):
    titles = [axes.get_title("left") for axes in samples.sample_grids(workdir[:2]).axes]
    assert titles == [
        "Real images\nDigits 8×8\n",
        "Glow\n1.900 ± 0.010 bits/dim\nseed 0",
        "mAR-SCF (affine)\n1.800 ± 0.010 bits/dim\nseed 0",
    ]


def test_real_images_beside_the_samples_are_validation_images(workdir):
    real = samples.sample_grids(workdir[:1]).axes[0].images[0].get_array()
    expected = np.round(open_split("digits", "val")[:64] * (255 / 16)).astype(np.uint8)
    np.testing.assert_array_equal(real, samples.in_colour(tiled(expected, 8)))


def test_samples_are_drawn_without_the_dataset(workdir):
    whole = samples.sample_grids(workdir[:1])
    Path("data/datasets").rename("elsewhere")
    alone = samples.sample_grids(workdir[:1])
    assert [len(figure.axes) for figure in (whole, alone)] == [2, 1]
    assert alone.axes[0].get_title(loc="left") == whole.axes[1].get_title(loc="left")


def test_frames_are_around_the_real_ends_and_they_alone(workdir):
    read = interpolation.read_paths(workdir[1]).images
    for axes, pair in zip(interpolation.paths(workdir[1:2]).axes, read, strict=True):
        sheet = np.asarray(axes.images[0].get_array())
        assert len(axes.patches) == 2
        for frame, point in zip(axes.patches, (0, -1), strict=True):
            left = round(frame.get_x() + 0.5)
            framed = sheet[:, left : left + round(frame.get_width())]
            np.testing.assert_array_equal(framed, samples.in_colour(tiled(pair[:, point], 1)))
        start = 8 + 2  # the images between them stand apart
        np.testing.assert_array_equal(sheet[:8, start : start + 8, 0], pair[0, 1, 0])


def test_figures_11_and_12_say_which_lambda_they_show(workdir):
    assert interpolation.paths(workdir[1:2]).axes[0].get_title("left").endswith("λ = 0.5")
    assert interpolation.scores(workdir[1:2]).axes[0].get_title().endswith("λ = 0.5")
    make_interpolation(Path(), workdir[1], chosen=0.0, shown=0.2)
    title = interpolation.paths(workdir[1:2]).axes[0].get_title("left")
    assert "λ = 0.2\n" in title and "no λ beat the straight line" in title


def test_scores_are_of_the_test_pairs_at_each_t(workdir):
    axes = interpolation.scores(workdir[1:2]).axes[0]
    drawn = [[float(y) for y in container.lines[0].get_ydata()] for container in axes.containers]
    np.testing.assert_allclose(drawn, [[8, 5, 5, 5, 8], [8, 7, 7, 7, 8]])


@pytest.mark.parametrize("name", ["interpolation.csv", "interpolation_scores.csv"])
def test_files_of_an_older_version_name_the_command(workdir, name):
    path = Path(workdir[1]) / name
    path.write_text("pair,method,lambda,point,t\n0,linear,0.0,0,0.0\n")
    seal_interpolation(path.parent)
    read = interpolation.read_points if name == "interpolation.csv" else interpolation.read_scores
    with pytest.raises(
        MarscfError, match=r"older version .* marscf study interpolate data/runs/quick"
    ) as error:
        read(workdir[1])
    assert "\n" not in str(error.value)
    np.savez(
        Path(workdir[1]) / "interpolation.npz", images=np.zeros((1, 2, 3, 1, 8, 8), np.uint8), t=[0, 0.5, 1]
    )
    seal_interpolation(path.parent)
    with pytest.raises(MarscfError, match="older version"):
        interpolation.paths(workdir[1:2])


def test_curves_end_at_the_images_the_flops_and_the_minutes_of_training(workdir):
    left, middle, right = training_curves.curves(workdir).axes
    glow = next(line for line in left.lines if line.get_marker() == style.looks(["glow"])["glow"]["marker"])
    assert list(glow.get_xdata()) == [64 * step for step in range(100, 601, 100)]
    glow = next(line for line in middle.lines if line.get_marker() == style.looks(["glow"])["glow"]["marker"])
    np.testing.assert_allclose(glow.get_xdata()[-1], 64 * 600 * 2e6)  # 0.002 GFLOPs per image
    glow = next(line for line in right.lines if line.get_marker() == style.looks(["glow"])["glow"]["marker"])
    np.testing.assert_allclose(glow.get_xdata(), np.arange(1, 7) / 6)  # 60 s of processor time, not 61.5


def test_systems_that_are_not_trained_by_steps_have_no_curves(workdir):
    assert not training_curves.curves(workdir[2:]).axes
    table = training_curves.equal_time(workdir[2:])
    assert not table.rows and "minutes" in table.html()


def test_equal_times_are_those_of_the_shortest_run(workdir):
    path = Path(workdir[0]) / "receipt.json"
    path.write_text(path.read_text().replace('"cpu_seconds": 60.0', '"cpu_seconds": 120.0'))
    table = training_curves.equal_time(workdir)
    rows = {row[1].value: dict(zip(table.columns, row, strict=True)) for row in table.rows}
    assert set(rows) == {"glow", "marscf-affine"}  # the histogram is not trained
    glow, ours = rows["glow"], rows["marscf-affine"]
    assert (glow["T (minutes)"].value, glow["minutes"].value, ours["minutes"].value) == (1, 2, 1)
    assert glow["T"].value == pytest.approx(1.90 + 35 / 300)  # half of its 600 steps
    assert glow["½ T"].value == pytest.approx(1.90 + 35 / 100)  # of step 150 the last validation before
    assert glow["¼ T"].text == "–"
    assert (glow["images seen at T"].value, glow["images seen"].value) == (64 * 300, 64 * 600)
    assert ours["images seen at T"].value == ours["images seen"].value == 64 * 600
    assert glow["parameters"].value == 12345
    assert ours["T"].value == ours["its end"].value == pytest.approx(1.80 + 35 / 600)


def test_a_control_does_not_set_the_time_to_compare_at(workdir, another_run):
    runs = list(workdir)
    for system, seconds, seed in (
        ("gaussian-affine", 30.0, 0),
        ("gaussian-affine", 30.0, 1),
        ("tarflow", 45.0, 0),
    ):
        path = Path(another_run(system, 1.85, seed)) / "receipt.json"
        path.write_text(path.read_text().replace('"cpu_seconds": 60.0', f'"cpu_seconds": {seconds}'))
        runs.append(str(path.parent))
    rows = {row[1].value: row for row in training_curves.equal_time(runs).rows}
    assert {row[3].value for row in rows.values()} == {0.75}  # minutes of tarflow, which is no control
    assert rows["gaussian-affine"][5].value == pytest.approx(1.85 + 35 / 400)  # half of T, 3/4 of its end
    assert [cell.text for cell in rows["gaussian-affine"][6:9]] == ["–", "–", "–"]  # it had ended
    assert rows["gaussian-affine"][9].value == pytest.approx(1.85 + 35 / 600)
    assert rows["gaussian-affine"][11].value == 64 * 600


def test_growth_of_the_sweep_is_found(workdir):
    times = sweep()
    ours, theirs = (speed.growth(times[times["system"] == name]) for name in ("marscf-affine", "pixelcnn"))
    assert ours.low < 1 < ours.high and theirs.low < 2 < theirs.high
    table = speed.speed_table(sweep())
    status = {row[0].text: row[-1] for row in table.rows}
    assert status["mAR-SCF (affine)"].kind == "reproduced"  # counted steps are Lemma A.1's


def test_table_of_speed_is_of_one_image_at_32(workdir):
    times = sweep()
    chosen = times["system"].eq("pixelcnn") & times["image_size"].eq(32)
    row = next(row for row in speed.speed_table(sweep()).rows if row[0].value == "pixelcnn")
    assert row[1].value == pytest.approx(times.loc[chosen, "milliseconds"].mean() / 8)
    assert row[2].value == 32**2


def test_wrong_count_of_steps_is_not_called_reproduced(workdir):
    path = Path("reports/quick/sampling_speed.csv")
    path.write_text(path.read_text().replace("marscf-affine,32,1,4,46,", "marscf-affine,32,1,4,45,"))
    seals.seal(path.with_name(seals.SWEEP), [path])
    status = {row[0].text: row[-1] for row in speed.speed_table(sweep()).rows}
    assert status["mAR-SCF (affine)"].kind == "short"


def test_missing_input_names_the_command(workdir):
    (Path(workdir[0]) / "samples.npy").unlink()
    with pytest.raises(MarscfError, match="marscf sample"):
        samples.sample_grids(workdir[:1])
    with pytest.raises(MarscfError, match="marscf study interpolate"):
        interpolation.paths(workdir[:1])
