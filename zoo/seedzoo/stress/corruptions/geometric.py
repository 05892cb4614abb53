"""Pose and place: rotation, translation, zoom-out, flip, elastic. Lengths are shares of the shorter side.

What comes into view from outside the image has the colour of its background.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from seedzoo.stress.condition import Kind
from seedzoo.stress.corruptions.images import (
    Floats,
    Images,
    background_colour,
    box_weights,
    image_corruption,
    sample_bilinear,
    separable,
    shorter_side,
    smooth_field,
)
from seedzoo.stress.draws import Draws

__all__ = ["KINDS", "elastic", "flip", "moved", "rotation", "translation", "zoom_out"]


@image_corruption
def rotation(images: Images, draws: Draws, *, degrees: float) -> Floats:
    """Turn around the centre, clockwise or counter-clockwise by chance.

    Args:
        images: uint8 [n, height, width, channels].
        draws: The examples' random streams.
        degrees: Size of the angle.
    """
    still = np.zeros(len(images))
    return moved(images, angles=np.deg2rad(degrees) * draws.sign(), down=still, right=still)


def moved(
    images: Images, *, angles: NDArray[np.float64], down: NDArray[np.float64], right: NDArray[np.float64]
) -> Floats:
    """Turn around the centre and then shift.

    Args:
        images: uint8 [n, height, width, channels].
        angles: float64 [n], radians, clockwise on the screen.
        down: float64 [n], pixels.
        right: float64 [n], pixels.

    Returns:
        float32 [n, height, width, channels].
    """
    height, width = images.shape[1:3]
    middle_row, middle_column = (height - 1) / 2, (width - 1) / 2
    y = np.arange(height)[None, :, None] - middle_row - down[:, None, None]
    x = np.arange(width)[None, None, :] - middle_column - right[:, None, None]
    sine, cosine = np.sin(angles)[:, None, None], np.cos(angles)[:, None, None]
    rows, columns = cosine * y - sine * x + middle_row, sine * y + cosine * x + middle_column
    return sample_bilinear(images, rows, columns, background_colour(images))


@image_corruption
def translation(images: Images, draws: Draws, *, length: float) -> Floats:
    """Shift by whole pixels in a random direction.

    Args:
        images: uint8 [n, height, width, channels].
        draws: The examples' random streams.
        length: Length of the shift as a share of the shorter side, before rounding to whole pixels.
    """
    direction = 2 * np.pi * draws.uniform()
    pixels = length * shorter_side(images)
    down, right = np.rint(pixels * np.sin(direction)), np.rint(pixels * np.cos(direction))
    return moved(images, angles=np.zeros(len(images)), down=down, right=right)


@image_corruption
def zoom_out(images: Images, draws: Draws, *, scale: float) -> Floats:  # noqa: ARG001 - every corruption takes draws
    """Shrink the picture by area averaging and put it in the middle of its background's colour.

    Args:
        images: uint8 [n, height, width, channels].
        draws: Not used.
        scale: New size relative to the old.
    """
    rows, columns = (_shrink(size, scale) for size in images.shape[1:3])
    covered = np.outer(rows.sum(axis=1), columns.sum(axis=1))[None, :, :, None]
    small: Floats = separable(images, rows, columns) + background_colour(images) * (1 - covered)
    return small


def _shrink(size: int, scale: float) -> Floats:
    return box_weights((np.arange(size + 1.0) - size / 2) / scale + size / 2, size)


@image_corruption
def flip(images: Images, draws: Draws) -> Images:  # noqa: ARG001 - every corruption takes draws
    """Exchange left and right."""
    return images[:, :, ::-1].copy()


@image_corruption
def elastic(images: Images, draws: Draws, *, reach: float, knots: int) -> Floats:
    """Displace every pixel by a random smooth field, one for the rows and one for the columns.

    Args:
        images: uint8 [n, height, width, channels].
        draws: The examples' random streams.
        reach: Largest displacement along each axis as a share of the shorter side.
        knots: Coefficients of the field along each side; more bend on a smaller scale.
    """
    height, width = images.shape[1:3]
    field = 2 * smooth_field(draws, (height, width), fields=2, knots=knots).astype(np.float64) - 1
    field *= reach * shorter_side(images)
    rows = np.arange(height)[None, :, None] + field[:, 0]
    columns = np.arange(width)[None, None, :] + field[:, 1]
    return sample_bilinear(images, rows, columns, background_colour(images))


KINDS = (
    Kind(
        name="rotation",
        function=rotation,
        description="Turned either way",
        levels=(
            {"degrees": 12.0},
            {"degrees": 25.0},
            {"degrees": 50.0},
        ),  # own choice; MNIST-C: 11 to 57
    ),
    Kind(
        name="translation",
        function=translation,
        description="Shifted in a random direction",
        levels=(
            {"length": 0.08},
            {"length": 0.16},
            {"length": 0.26},
        ),  # own choice; MNIST-C: to 5 px of 28
    ),
    Kind(
        name="zoom-out",
        function=zoom_out,
        description="Smaller on its background",
        levels=({"scale": 0.85}, {"scale": 0.7}, {"scale": 0.5}),  # own choice; MNIST-C: 0.9 to 0.5
    ),
    Kind(name="flip", function=flip, description="Left and right exchanged"),
    Kind(
        name="elastic",
        function=elastic,
        description="Bent by a smooth random field",
        levels=(  # own choice
            {"reach": 0.06, "knots": 7},
            {"reach": 0.1, "knots": 7},
            {"reach": 0.15, "knots": 7},
        ),
    ),
)
