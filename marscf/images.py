"""Images as pictures to look at: grey levels over the whole range, many images on one sheet."""

import numpy as np


def stretched(images: np.ndarray, grey_levels: int) -> np.ndarray:
    """Map grey levels `0 … grey_levels-1` to `0 … 255`, rounded to the nearest, as `uint8`."""
    if grey_levels == 256:
        return images
    table = np.round(np.arange(256).clip(max=grey_levels - 1) * (255 / (grey_levels - 1))).astype(np.uint8)
    return table[images]


def tiled(images: np.ndarray, columns: int | None = None, gap: int = 1, smallest: int = 1) -> np.ndarray:
    """Lay `uint8 (n,C,H,W)` images with C = 1 or 3 out as one picture `(height, width, C)`, row by row.

    `gap` white pixels stand between images, and the last row is filled with white. Images with both sides
    below `smallest` pixels are enlarged by a whole factor (nearest neighbour): pixels stay visible as pixels.
    """
    count, channels, height, width = images.shape
    factor = max(1, -(-smallest // max(height, width)))
    images = images.repeat(factor, axis=2).repeat(factor, axis=3)
    height, width = height * factor, width * factor
    columns = min(count, columns or int(np.ceil(np.sqrt(count))))
    rows = -(-count // columns)
    picture = np.full((rows * (height + gap) - gap, columns * (width + gap) - gap, channels), 255, np.uint8)
    for index, image in enumerate(images):
        top, left = (index // columns) * (height + gap), (index % columns) * (width + gap)
        picture[top : top + height, left : left + width] = image.transpose(1, 2, 0)
    return picture
