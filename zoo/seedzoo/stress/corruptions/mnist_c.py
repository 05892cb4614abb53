"""The corruptions that MNIST-C has beyond ImageNet-C's (Mu & Gilmer 2019): pose, strokes, edges.

Own implementations of the published formulas (google-research/mnist-c, Apache-2.0), for bright objects on black. The
original knows 28 x 28 px alone: what it draws is laid over an image of any size as over a grid of 28 x 28 cells, and
translations stay in pixels like the other published lengths. What comes into view from outside is black.
"""

from __future__ import annotations

from collections.abc import Mapping
from itertools import pairwise
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from seedzoo.stress.condition import Kind
from seedzoo.stress.corruptions.imagenet_c.common import luminance, published_corruption
from seedzoo.stress.corruptions.images import Floats, Images, sample_bilinear
from seedzoo.stress.draws import Draws

__all__ = ["MNIST_SHAPES_SUITE", "SHAPE_KINDS"]

Doubles = NDArray[np.float64]

_CELLS = 28
# Half the width of a drawn line in cells; its brightness falls off as 1 + log(1 - distance / width).
_WIDTH = 2.3
_EIGHT = np.ones((3, 3), dtype=bool)


@published_corruption
def shear(images: Images, draws: Draws, *, amount: float) -> Floats:
    """Slant to either side by chance, about the middle.

    Args:
        images: uint8 [n, height, width, channels].
        draws: The examples' random streams.
        amount: Shear angle in radians, as scikit-image had it then: x - sin(angle) y and cos(angle) y are read.
    """
    angle = amount * draws.sign()
    zero = np.zeros_like(angle)
    return _read(images, ((np.cos(angle), zero), (-np.sin(angle), zero + 1)))


@published_corruption
def rotate(images: Images, draws: Draws, *, angle: float) -> Floats:
    """Turn about the middle, clockwise or counter-clockwise by chance.

    Args:
        images: uint8 [n, height, width, channels].
        draws: The examples' random streams.
        angle: In radians.
    """
    turn = angle * draws.sign()
    sine, cosine = np.sin(turn), np.cos(turn)
    return _read(images, ((cosine, sine), (-sine, cosine)))


@published_corruption
def scale(images: Images, draws: Draws, *, factor: float) -> Floats:  # noqa: ARG001 - every corruption takes draws
    """Shrink towards the middle.

    Args:
        images: uint8 [n, height, width, channels].
        draws: Not used.
        factor: Old size relative to the new.
    """
    size, zero = np.full(len(images), factor), np.zeros(len(images))
    return _read(images, ((size, zero), (zero, size)))


@published_corruption
def translate(images: Images, draws: Draws, *, pixels: int) -> Floats:
    """Shift along both axes, each way by chance.

    Args:
        images: uint8 [n, height, width, channels].
        draws: The examples' random streams.
        pixels: Length of the shift along each axis.
    """
    across, down = pixels * draws.sign(), pixels * draws.sign()
    one, zero = np.ones(len(images)), np.zeros(len(images))
    return _read(images, ((one, zero), (zero, one)), down=down, across=across)


def _read(
    images: Images, rows: tuple[tuple[Doubles, Doubles], tuple[Doubles, Doubles]], *,
    down: Doubles | float = 0.0, across: Doubles | float = 0.0,
) -> Floats:  # fmt: skip
    """Read at a linear map of the places about the middle, ((row by row, by column), (column ...)), then shifted."""
    height, width, channels = images.shape[1:]
    y = (np.arange(height) - (height - 1) / 2)[None, :, None]
    x = (np.arange(width) - (width - 1) / 2)[None, None, :]
    (yy, yx), (xy, xx) = (tuple(part[:, None, None] for part in row) for row in rows)
    moved_down, moved_across = (np.reshape(np.broadcast_to(one, len(images)), (-1, 1, 1)) for one in (down, across))
    black = np.zeros((len(images), 1, 1, channels), dtype=np.float32)
    return sample_bilinear(
        images,
        yy * y + yx * x + (height - 1) / 2 + moved_down,
        xy * y + xx * x + (width - 1) / 2 + moved_across,
        black,
    )


@published_corruption
def stripe(images: Images, draws: Draws) -> Images:  # noqa: ARG001 - every corruption takes draws
    """Invert the left and the right quarter."""
    column = _cell(images.shape[2])
    outside = (column < _CELLS // 4) | (column >= _CELLS - _CELLS // 4)
    return np.where(outside[None, None, :, None], np.uint8(255) - images, images)


@published_corruption
def dotted_line(images: Images, draws: Draws) -> Floats:
    """Add a dotted white line from the left border to the right."""
    start, end = np.floor(27 * draws.uniform(2)).T
    light = _line(images, np.zeros_like(start), start, np.full_like(end, 27.0), end)
    light[:, :, _cell(images.shape[2]) % 4 < 2] = 0
    return images + 255 * light[..., None]


@published_corruption
def zigzag(images: Images, draws: Draws) -> Floats:
    """Add a white zigzag line, nearly level, almost as long as the image is wide."""
    numbers = draws.uniform(2)
    first, left, right, reach = np.floor(27 * numbers[:, 0]), 2.0, 25.0, 2.0
    rise = np.floor(10 * numbers[:, 1]) - 5
    angle = np.arctan(rise / (right - left))
    length = (right - left) / np.cos(angle)
    # The rise is small enough for six turns at any angle, and a rest that ends on the way back.
    along = [np.zeros_like(length), *(np.full_like(length, (2 * turn + 1) * reach) for turn in range(6)), length]
    aside = [
        np.zeros_like(length),
        *(np.full_like(length, (-1) ** turn * reach) for turn in range(6)),
        -reach / (2 * (length - 20)),
    ]
    points = [
        (np.cos(angle) * a - np.sin(angle) * b + left, np.sin(angle) * a + np.cos(angle) * b + first)
        for a, b in zip(along, aside, strict=True)
    ]
    result = images.astype(np.float32)
    for (c0, r0), (c1, r1) in pairwise(points):
        result += 255 * _line(images, c0, r0, c1, r1)[..., None]
    return result


def _cell(size: int) -> NDArray[np.int64]:
    """Which of the 28 cells each pixel of a line lies in."""
    return ((np.arange(size) + 0.5) * _CELLS / size).astype(np.int64)


def _line(images: Images, c0: Doubles, r0: Doubles, c1: Doubles, r1: Doubles) -> Floats:
    """Brightness 0..1 of a line from (column, row) c0, r0 to c1, r1 in cells: float32 [n, height, width]."""
    height, width = images.shape[1:3]
    row, column = ((np.arange(size) + 0.5) * _CELLS / size - 0.5 for size in (height, width))
    c0, r0, c1, r1 = (one[:, None, None] for one in (c0, r0, c1, r1))
    middle = (r1 - r0) / (c1 - c0) * (column - c0) + r0
    distance = np.minimum(np.abs(row[:, None] - middle), _WIDTH - 1e-10)
    light = np.clip(np.log(1 - distance / _WIDTH) + 1, 0, 1)
    cell = _cell(width)
    light *= (cell >= np.floor(c0)) & (cell < np.ceil(c1))
    result: Floats = light.astype(np.float32)
    return result


@published_corruption
def canny_edges(images: Images, draws: Draws) -> Images:  # noqa: ARG001 - every corruption takes draws
    """White edges on black (Canny 1986), found in the grey values."""
    found = np.stack([_edges(luminance(image)[..., 0].astype(np.float64) / 255) for image in images])
    return np.where(found[..., None], np.uint8(255), np.zeros_like(images))


def _edges(image: Doubles) -> NDArray[np.bool_]:
    """``skimage.feature.canny`` with its defaults: sigma 1, thresholds 0.1 and 0.2; bool [height, width]."""
    smooth = ndimage.gaussian_filter(image, 1.0, mode="constant")
    smooth /= ndimage.gaussian_filter(np.ones_like(image), 1.0, mode="constant") + np.finfo(float).eps
    down, across = ndimage.sobel(smooth, axis=0), ndimage.sobel(smooth, axis=1)
    size = np.hypot(down, across)
    inside = np.zeros(image.shape, dtype=bool)
    inside[1:-1, 1:-1] = True
    rows, columns = np.nonzero(inside & (size >= 0.1))
    dy, dx, here = down[rows, columns], across[rows, columns], size[rows, columns]
    tall = np.abs(dy) > np.abs(dx)
    share = np.minimum(np.abs(dy), np.abs(dx)) / np.maximum(np.abs(dy), np.abs(dx))
    step_y, step_x = np.where(dy >= 0, 1, -1), np.where(dx >= 0, 1, -1)
    kept = np.ones(len(rows), dtype=bool)
    for way in (1, -1):
        diagonal = size[rows + way * step_y, columns + way * step_x]
        straight = size[rows + way * step_y * tall, columns + way * step_x * ~tall]
        kept &= diagonal * share + straight * (1 - share) <= here
    thin = np.zeros(image.shape, dtype=bool)
    thin[rows[kept], columns[kept]] = True
    parts, count = ndimage.label(thin, structure=_EIGHT)
    strong = np.zeros(count + 1, dtype=bool)
    strong[parts[thin & (size >= 0.2)]] = True
    strong[0] = False
    return strong[parts]


def _levels(name: str, *values: float) -> tuple[Mapping[str, Any], ...]:
    return tuple({name: value} for value in values)


SHAPE_KINDS = (
    Kind(
        name="mnist-c-shear",
        function=shear,
        description="Slanted to either side",
        levels=_levels("amount", 0.2, 0.4, 0.6, 0.8, 1.0),
    ),
    Kind(
        name="mnist-c-scale",
        function=scale,
        description="Smaller, on black",
        levels=_levels("factor", *(1 / size for size in (0.9, 0.8, 0.7, 0.6, 0.5))),
    ),
    Kind(
        name="mnist-c-rotate",
        function=rotate,
        description="Turned either way",
        levels=_levels("angle", 0.2, 0.4, 0.6, 0.8, 1.0),
    ),
    Kind(
        name="mnist-c-translate",
        function=translate,
        description="Shifted along both axes",
        levels=_levels("pixels", 1, 2, 3, 4, 5),
    ),
    Kind(name="mnist-c-stripe", function=stripe, description="Left and right quarter inverted"),
    Kind(name="mnist-c-dotted-line", function=dotted_line, description="Crossed by a dotted line"),
    Kind(name="mnist-c-zigzag", function=zigzag, description="Crossed by a zigzag line"),
    Kind(name="mnist-c-canny-edges", function=canny_edges, description="Edges alone"),
)

# Suite name -> kind name -> severities, as in `seedzoo.stress.suites`.
MNIST_SHAPES_SUITE: Mapping[str, Mapping[str, tuple[int, ...]]] = {
    "mnist-c-shapes": {"id": (), **{kind.name: tuple(range(1, len(kind.levels) + 1)) for kind in SHAPE_KINDS}}
}
