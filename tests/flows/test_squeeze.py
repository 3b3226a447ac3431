import torch

from marscf.flows.squeeze import Squeeze

IMAGE = torch.arange(32.0).view(1, 2, 4, 4)


def test_halves_by_pixel_are_the_even_and_the_odd_rows():
    even, odd = Squeeze(by_pixel=True)(IMAGE)[0].chunk(2, 1)
    assert set(even.unique().tolist()) == set(IMAGE[:, :, ::2].unique().tolist())
    assert set(odd.unique().tolist()) == set(IMAGE[:, :, 1::2].unique().tolist())


def test_channels_by_pixel_run_colour_first_then_along_the_row():
    first = Squeeze(by_pixel=True)(IMAGE)[0][0, :, 0, 0]
    patch = IMAGE[0, :, :2, :2]  # colour, row, column
    assert first.tolist() == patch.permute(1, 2, 0).flatten().tolist()


def test_otherwise_halves_are_the_channels_in_their_order():
    first, second = Squeeze()(IMAGE)[0].chunk(2, 1)
    assert first.max() < 16 <= second.min()
