import numpy as np

from marscf.images import stretched, tiled


def test_stretched_images_reach_black_and_white_and_keep_order():
    images = np.arange(17, dtype=np.uint8).reshape(1, 1, 1, 17)
    found = stretched(images, 17).ravel()
    assert found[0] == 0 and found[-1] == 255
    assert np.all(np.diff(found.astype(int)) > 0)
    assert stretched(images, 256) is images


def test_a_sheet_places_each_image_and_enlarges_tiny_ones():
    images = np.arange(5, dtype=np.uint8)[:, None, None, None] * np.ones((1, 3, 8, 8), np.uint8)
    picture = tiled(images, columns=3, smallest=32)
    assert picture.shape == (2 * 32 + 1, 3 * 32 + 2, 3)
    assert picture[0, 0, 0] == 0 and picture[0, 33, 0] == 1 and picture[33, 33, 2] == 4
    assert picture[33, 66, 0] == 255  # an empty place
    assert tiled(np.zeros((4, 1, 32, 32), np.uint8)).shape == (65, 65, 1)


def test_a_sheet_holds_every_pixel_of_every_image():
    images = np.arange(5 * 3 * 2 * 2, dtype=np.uint8).reshape(5, 3, 2, 2)
    sheet = tiled(images, 3)
    assert sheet.shape == (5, 8, 3)
    np.testing.assert_array_equal(sheet[3:5, 3:5], images[4].transpose(1, 2, 0))
    assert (sheet[3:5, 6:8] == 255).all()  # no sixth image
