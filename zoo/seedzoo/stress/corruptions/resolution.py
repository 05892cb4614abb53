"""Lost resolution: pixelate, downscale.

As in ImageNet-C the severity is a scale, so a block has the same number of pixels in an image of any size: a
fixed number of blocks would leave an image of 8 px as it is.
"""

from __future__ import annotations

import numpy as np

from seedzoo.stress.condition import Kind
from seedzoo.stress.corruptions.images import (
    Floats,
    Images,
    bilinear_weights,
    box_weights,
    image_corruption,
    separable,
)
from seedzoo.stress.draws import Draws

__all__ = ["KINDS", "downscale", "pixelate"]


@image_corruption
def pixelate(images: Images, draws: Draws, *, scale: float) -> Floats:  # noqa: ARG001 - every corruption takes draws
    """Average over a coarse grid of cells and show each cell as a flat block, as ImageNet-C does.

    Args:
        images: uint8 [n, height, width, channels].
        draws: Not used.
        scale: Cells per pixel along each side; at least two cells remain.
    """
    rows, columns = (_blocks(size, _cells(size, scale)) for size in images.shape[1:3])
    return separable(images, rows, columns)


@image_corruption
def downscale(images: Images, draws: Draws, *, scale: float) -> Floats:  # noqa: ARG001 - every corruption takes draws
    """Shrink by area averaging and enlarge again with bilinear interpolation: a small picture shown large.

    Args:
        images: uint8 [n, height, width, channels].
        draws: Not used.
        scale: Size of the small picture relative to the image; at least two pixels along each side.
    """
    rows, columns = (_there_and_back(size, _cells(size, scale)) for size in images.shape[1:3])
    return separable(images, rows, columns)


def _cells(size: int, scale: float) -> int:
    return max(2, round(size * scale))


def _averages(size: int, cells: int) -> Floats:
    return box_weights(np.linspace(0, size, cells + 1), size)


def _blocks(size: int, cells: int) -> Floats:
    cell = ((np.arange(size) + 0.5) * cells / size).astype(np.int64)
    return _averages(size, cells)[cell]


def _there_and_back(size: int, cells: int) -> Floats:
    return bilinear_weights(size, cells) @ _averages(size, cells)


KINDS = (
    Kind(
        name="pixelate",
        function=pixelate,
        description="Shown in fewer, larger blocks",
        # Own choice: 14, 10, 7 and 5 blocks along 28 px; ImageNet-C has 0.6, 0.5, 0.4, 0.3, 0.25.
        levels=({"scale": 0.5}, {"scale": 0.36}, {"scale": 0.25}, {"scale": 0.18}),
    ),
    Kind(
        name="downscale",
        function=downscale,
        description="Made smaller and enlarged again, smoothly",
        levels=({"scale": 0.5}, {"scale": 0.32}, {"scale": 0.2}),  # own choice
    ),
)
