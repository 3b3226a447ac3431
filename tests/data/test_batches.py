"""Batches: a pure function of (seed, step), no image dropped, augmentation as described."""

import numpy as np
import pytest
import torch

from marscf.data.arrays import Joined
from marscf.data.batches import AUGMENT, SHIFT, Batches
from marscf.errors import ConfigError

IMAGES = np.arange(103, dtype=np.uint8)[:, None, None, None] * np.ones((1, 3, 8, 8), np.uint8)


def test_every_epoch_holds_every_image_once():
    batches = Batches(IMAGES, 10, seed=5)
    drawn = np.concatenate([batches.indices(step) for step in range(103)])
    for epoch in range(10):
        assert sorted(drawn[epoch * 103 : (epoch + 1) * 103]) == list(range(103))
    assert not np.array_equal(drawn[:103], drawn[103:206])
    assert [batches.epoch_of(step) for step in (0, 10, 11, 102)] == [0, 0, 1, 9]


def test_a_batch_may_be_larger_than_the_dataset():
    assert np.bincount(Batches(IMAGES, 250, seed=5).indices(3)).sum() == 250
    assert set(np.bincount(Batches(IMAGES, 206, seed=5).indices(1))) == {2}


@pytest.mark.parametrize("augment", list(AUGMENT))
def test_any_step_can_be_entered(augment):
    images = np.random.default_rng(0).integers(0, 256, (50, 3, 8, 8), dtype=np.uint8)
    there = Batches(images, 7, seed=1, augment=augment)
    expected = [there.at(step) for step in range(30)]
    for step in (29, 0, 13, 14, 7, 13):
        assert torch.equal(Batches(images, 7, seed=1, augment=augment).at(step), expected[step])
        assert torch.equal(there.at(step), expected[step])
    assert expected[0].shape == (7, 3, 8, 8) and expected[0].dtype == torch.uint8
    assert not torch.equal(Batches(images, 7, seed=2, augment=augment).at(0), expected[0])


def test_order_is_the_same_for_ever():
    """The order is part of what a run is: these numbers must survive new versions of numpy and torch."""
    assert Batches(IMAGES, 6, seed=5).indices(0).tolist() == [88, 31, 48, 29, 7, 8]
    assert Batches(IMAGES, 6, seed=5).indices(1000).tolist() == [6, 2, 78, 38, 101, 71]


def test_images_come_unaltered_without_augmentation():
    batches = Batches(IMAGES, 10, seed=5)
    assert np.array_equal(batches.at(3).numpy(), IMAGES[batches.indices(3)])


def reference(image, flip, down, right):
    """Edge-pad by SHIFT, crop at the shifted place, mirror: image by image, as the definition reads."""
    image = image[..., ::-1] if flip else image
    padded = np.pad(image, ((0, 0), (SHIFT, SHIFT), (SHIFT, SHIFT)), mode="edge")
    height, width = image.shape[1:]
    return padded[:, SHIFT + down : SHIFT + down + height, SHIFT + right : SHIFT + right + width]


def test_augmentation_is_flip_and_shift_along_one_axis():
    images = np.random.default_rng(0).integers(0, 256, (40, 3, 6, 9), dtype=np.uint8)
    moves = [(0, k) for k in range(-SHIFT, SHIFT + 1)] + [(k, 0) for k in range(-SHIFT, SHIFT + 1) if k]
    batches, seen = Batches(images, 40, seed=3, augment="flip-shift"), set()
    for step in range(20):
        plain = images[batches.indices(step)]
        for original, got in zip(plain, batches.at(step).numpy(), strict=True):
            made = [
                (flip, *move)
                for flip in (False, True)
                for move in moves
                if np.array_equal(reference(original, flip, *move), got)
            ]
            assert len(made) == 1
            seen.update(made)
    assert seen == {(flip, *move) for flip in (False, True) for move in moves}  # each of them happens


def test_half_of_the_images_are_flipped():
    ramp = np.tile(np.arange(16, dtype=np.uint8) * 8, (1000, 1, 16, 1))
    x = Batches(ramp, 1000, seed=3, augment="flip-shift").at(0)
    flipped = (x[:, 0, 0, -1] < x[:, 0, 0, 0]).float().mean().item()
    assert abs(flipped - 0.5) < 0.05


def test_memory_map_is_read_as_it_is(tmp_path):
    np.save(tmp_path / "x.npy", IMAGES)
    mapped = np.load(tmp_path / "x.npy", mmap_mode="r")
    assert torch.equal(Batches(mapped, 9, seed=5).at(4), Batches(IMAGES, 9, seed=5).at(4))


def test_images_on_the_device_give_the_same_batches(monkeypatch):
    expected = Batches(IMAGES, 9, seed=5, augment="flip-shift")
    monkeypatch.setattr(Batches, "_fits", lambda self: True)
    resident = Batches(IMAGES, 9, seed=5, augment="flip-shift")
    assert resident._resident is not None and expected._resident is None
    assert all(torch.equal(resident.at(step), expected.at(step)) for step in range(30))


@pytest.mark.parametrize(
    ("augment", "flips", "shifts"), [("flip", {0, 1}, {0}), ("shift", {0}, set(range(-SHIFT, SHIFT + 1)))]
)
def test_flips_alone_and_shifts_alone(augment, flips, shifts):
    images = np.random.default_rng(0).integers(0, 256, (40, 3, 6, 9), dtype=np.uint8)
    batches, seen = Batches(images, 40, seed=3, augment=augment), set()
    for step in range(4):
        for image, made in zip(images[batches.indices(step)], batches.at(step).numpy(), strict=True):
            moves = {(f, d, r) for f in flips for d in shifts for r in shifts if d * r == 0}
            fits = {move for move in moves if np.array_equal(reference(image, *move), made)}
            assert fits
            seen |= fits
    assert {move[0] for move in seen} == flips
    assert {move[1] for move in seen} == {move[2] for move in seen} == shifts


def test_joined_arrays_are_one():
    whole = np.arange(7 * 2).reshape(7, 2)
    joined = Joined(whole[:3], whole[3:4], whole[4:])
    assert (len(joined), joined.shape, joined.nbytes) == (7, whole.shape, whole.nbytes)
    assert np.array_equal(joined[2:5], whole[2:5])
    assert np.array_equal(joined[np.array([6, 0, 3, 3])], whole[[6, 0, 3, 3]])


@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a GPU")
def test_gpu_gives_the_same_batches(monkeypatch):
    expected = Batches(IMAGES, 9, seed=5, augment="flip-shift")
    resident = Batches(IMAGES, 9, seed=5, device="cuda", augment="flip-shift")
    assert resident._resident is not None
    monkeypatch.setattr(torch.cuda, "mem_get_info", lambda device: (10, 10))
    gathered = Batches(IMAGES, 9, seed=5, device="cuda", augment="flip-shift")
    assert gathered._resident is None
    for step in range(30):
        assert torch.equal(resident.at(step).cpu(), expected.at(step))
        assert torch.equal(gathered.at(step).cpu(), expected.at(step))


@pytest.mark.parametrize(("size", "augment"), [(0, "none"), (5, "mirror")])
def test_bad_arguments_are_named(size, augment):
    with pytest.raises(ConfigError, match=r"batch_size: 0|augment: 'mirror'"):
        Batches(IMAGES, size, seed=5, augment=augment)
