import numpy as np
import pytest
from PIL import Image

from marscf.cli import main
from marscf.errors import EvaluationError
from marscf.evaluation.sampling import chunk_sizes, sample_chunk
from marscf.images import stretched, tiled


def test_a_chunk_is_a_pure_function_of_seed_and_index(model):
    first = sample_chunk(model, 5, seed=3, chunk=2)
    sample_chunk(model, 5, seed=3, chunk=0)
    np.testing.assert_array_equal(sample_chunk(model, 5, seed=3, chunk=2), first)
    assert not np.array_equal(sample_chunk(model, 5, seed=3, chunk=1), first)
    assert not np.array_equal(sample_chunk(model, 5, seed=4, chunk=2), first)


def test_samples_follow_the_model_and_the_temperature(model):
    mean = (model.mean.detach().numpy() * 17).clip(0, 17)
    warm, cold = (sample_chunk(model, 400, seed=0, chunk=0, temperature=t) for t in (1.0, 0.01))
    assert np.abs(cold.mean(0) + 0.5 - mean).max() < 1
    assert warm.std(0).mean() > 10 * cold.std(0).mean()


def test_wrong_samples_are_refused(model):
    model.grey_levels = 9
    images = sample_chunk(model, 64, seed=0, chunk=0)
    assert images.max() == 8
    model.to_discrete = lambda y: (y * 0 + 9).byte()
    with pytest.raises(EvaluationError, match="grey level 9, the data has 0 to 8"):
        sample_chunk(model, 4, seed=0, chunk=0)


def test_chunks_add_up():
    assert chunk_sizes(7, 3) == [3, 3, 1]
    assert chunk_sizes(6, 3) == [3, 3]
    assert chunk_sizes(2, 3) == [2]


def test_command_writes_png_and_npy(workplace, tmp_path):
    common = ["sample", str(workplace), "-n", "6", "--device", "cpu"]
    assert main([*common, "--out", "x.png"]) == 0
    assert main([*common, "--out", "x.npy"]) == 0
    array = np.load("x.npy")
    assert array.dtype == np.uint8 and array.shape == (6, 1, 8, 8) and array.max() <= 16
    picture = np.asarray(Image.open("x.png"))
    np.testing.assert_array_equal(picture, tiled(stretched(array, 17), smallest=32).squeeze(2))
    before = (tmp_path / "x.png").read_bytes()
    assert main([*common, "--out", "x.png"]) == 0
    assert (tmp_path / "x.png").read_bytes() == before
    assert main([*common, "--out", "y.npy", "--seed", "1"]) == 0
    assert not np.array_equal(np.load("y.npy"), array)


@pytest.mark.parametrize("bad", [["--out", "x.gif"], ["--out", "x.png", "--temperature", "0"]])
def test_bad_arguments_end_in_one_line(workplace, capsys, bad):
    assert main(["sample", str(workplace), *bad]) == 2
    assert len(capsys.readouterr().err.strip().splitlines()) == 1
