import torch

from marscf.flows.checkerboard import Checkerboard

ROWS, COLUMNS = torch.meshgrid(torch.arange(4.0), torch.arange(6.0), indexing="ij")


def halves(stripes: bool, image: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    z, log_det = Checkerboard(stripes)(image[None, None])
    assert z.shape == (1, 2, 4, 3) and not log_det.any()
    return z[0, 0], z[0, 1]


def test_black_and_white_squares():
    black, white = halves(False, (ROWS + COLUMNS) % 2)
    assert not black.any() and white.all()


def test_even_and_odd_columns():
    even, odd = halves(True, COLUMNS)
    assert (even % 2 == 0).all() and (odd % 2 == 1).all()
    assert even[0].tolist() == [0, 2, 4]
