import numpy as np
import pytest
import torch
from two_modes import TwoModes

from marscf.config import Interpolation
from marscf.studies import interpolation_walk
from marscf.studies.interpolation import Descent, Units
from marscf.studies.interpolation_walk import LINE, Choice, descent_of, middle, walk, walk_all

UNITS = Units([0.3], 0.3)
SETTINGS = Interpolation(dataset="digits", system="two-modes", points=5, iterations=15, batch_size=9)


def make_images(pairs):
    return torch.randint(
        0, 17, (pairs, 2, 1, 4, 4), dtype=torch.uint8, generator=torch.Generator().manual_seed(0)
    )


def test_lambda_is_both_weights_or_with_two_terms_the_middle_one_is_the_second():
    assert middle([0.5, 0.2, 0.35]) == 0.35 and middle([0.5, 0.2]) == 0.5
    expected = Descent(0.2, 0.2, "unbounded", "three-term", 15, 5e-2)
    assert descent_of(Choice("unbounded", 0.2), SETTINGS) == expected
    two = SETTINGS.model_copy(update={"objective": "two-term"})
    assert descent_of(Choice("typical", 0.2), two) == Descent(0.2, 0.35, "typical", "two-term", 15, 5e-2)


def test_ends_are_the_real_images_and_only_points_between_them_move():
    model, images = TwoModes((1, 4, 4), 17), make_images(3)
    line, moved = (
        walk(model, images, UNITS, way, SETTINGS, lambda _: None) for way in (LINE, Choice("ignored", 2.0))
    )
    for found in (line, moved):
        assert found.images.shape == (3, 5, 1, 4, 4) and found.numbers.shape == (3, 5, 4)
        assert np.array_equal(found.images[:, [0, -1]], images.numpy())
        assert found.numbers[:, [0, -1], 2:] == pytest.approx(0, abs=1e-9)
    assert (line.numbers[..., 2] == 0).all() and (moved.numbers[:, 1:-1, 2] > 0).all()
    assert not np.array_equal(line.images, moved.images)
    halfway = (model.to_continuous(images[:, 0]) + model.to_continuous(images[:, 1])) / 2
    assert np.array_equal(line.images[:, 2], model.to_discrete(halfway).numpy())


def test_batches_are_whole_pairs_and_give_what_one_batch_gives(tmp_path, monkeypatch):
    model, images, ways = TwoModes((1, 4, 4), 17), make_images(7), [LINE, Choice("typical", 0.5)]
    sizes, alone = [], walk(model, images, UNITS, ways[1], SETTINGS, lambda _: None)

    def counting(model, images, *rest):
        sizes.append(len(images))
        return walk(model, images, *rest)

    monkeypatch.setattr(interpolation_walk, "walk", counting)
    found = walk_all(model, images, UNITS, ways, SETTINGS, tmp_path / "test")
    assert sizes == [3, 3, 1] * 2 and list(found) == ways
    np.testing.assert_allclose(found[ways[1]].numbers, alone.numbers, rtol=1e-4, atol=1e-5)
    (tmp_path / "test" / "typical-0.5-1.npz").unlink()
    again = walk_all(model, images, UNITS, ways, SETTINGS, tmp_path / "test")
    assert sizes == [3, 3, 1] * 2 + [3]  # what is on disk is not walked again
    assert np.array_equal(again[ways[1]].numbers, found[ways[1]].numbers)
