"""What the image corruptions share: the border check, resampling, smooth fields and the background's colour.

Images are [n, height, width, channels]. Every result depends on the image itself alone, to the last bit:
linear algebra runs on one image plane at a time with shapes that do not depend on n, since a BLAS may sum in
another order for another shape and a pixel that lies on a rounding boundary would flip.
"""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import Any, Concatenate, ParamSpec, cast

import numpy as np
from numpy.typing import NDArray

from seedzoo.errors import DataError
from seedzoo.stress.draws import Draws

__all__ = [
    "Floats",
    "Images",
    "as_uint8",
    "background_colour",
    "bilinear_weights",
    "box_weights",
    "check_images",
    "image_corruption",
    "sample_bilinear",
    "separable",
    "shorter_side",
    "smooth_field",
]

Images = NDArray[np.uint8]
Floats = NDArray[np.float32]

MIN_SIDE = 8

P = ParamSpec("P")


def image_corruption(
    function: Callable[Concatenate[Images, Draws, P], NDArray[Any]],
) -> Callable[Concatenate[Images, Draws, P], Images]:
    """Check the images that go in and turn what comes out, on the scale 0 to 255, into uint8.

    The decorated function raises `DataError` for anything but uint8 [n, height, width, channels] with height
    and width >= 8 and 1 or 3 channels.
    """

    @functools.wraps(function)
    def checked(images: Images, draws: Draws, *args: P.args, **kwargs: P.kwargs) -> Images:
        check_images(images)
        return as_uint8(function(images, draws, *args, **kwargs))

    return cast("Callable[Concatenate[Images, Draws, P], Images]", checked)


def check_images(images: NDArray[Any]) -> None:
    """Refuse what is not uint8 [n, height, width, 1 or 3] with sides of at least 8, by a `DataError`."""
    if images.dtype != np.uint8:
        raise DataError(f"image conditions need uint8 images, not {images.dtype}", hint="Scale them to 0..255.")
    if images.ndim != 4 or images.shape[3] not in (1, 3):
        raise DataError(
            f"image conditions need images [n, height, width, 1 or 3 channels], not {list(images.shape)}",
            hint="Put the channels last; grey images have one.",
        )
    if min(images.shape[1:3]) < MIN_SIDE:
        raise DataError(
            f"image conditions need sides of at least {MIN_SIDE} pixels, not {list(images.shape[1:3])}",
        )


def as_uint8(values: NDArray[Any]) -> Images:
    """Round and clip to 0..255; uint8 is passed through."""
    if values.dtype == np.uint8:
        return values
    rounded: Images = np.clip(np.rint(values), 0, 255).astype(np.uint8)
    return rounded


def shorter_side(images: NDArray[Any]) -> int:
    """The shorter of height and width in pixels: the unit of every length in the severity tables."""
    return int(min(images.shape[1:3]))


def background_colour(images: Images) -> Floats:
    """Each image's background: per channel the median of its border pixels.

    Objects touch the border in places (in Fashion-MNIST trousers and sleeves do), rarely over half of it.

    Returns:
        float32 [n, 1, 1, channels].
    """
    border = np.concatenate([images[:, 0], images[:, -1], images[:, 1:-1, 0], images[:, 1:-1, -1]], axis=1)
    colour: Floats = np.median(border, axis=1).astype(np.float32)
    return colour[:, None, None, :]


def box_weights(edges: NDArray[np.float64], size: int) -> Floats:
    """Weights that average a line of pixels over intervals.

    Args:
        edges: float64 [m + 1], ascending interval ends in pixels; pixel j covers [j, j + 1].
        size: Number of pixels in the line.

    Returns:
        float32 [m, size]; rows sum to the share of their interval that lies inside the line.
    """
    low, high = edges[:-1, None], edges[1:, None]
    pixel = np.arange(size)
    overlap = np.clip(np.minimum(high, pixel + 1) - np.maximum(low, pixel), 0, None)
    weights: Floats = (overlap / (high - low)).astype(np.float32)
    return weights


def bilinear_weights(size: int, cells: int) -> Floats:
    """Weights that interpolate `cells` values linearly to `size` pixels, centres aligned, ends held.

    Returns:
        float32 [size, cells]; rows sum to 1.
    """
    position = np.clip((np.arange(size) + 0.5) * cells / size - 0.5, 0, cells - 1)
    weights: Floats = np.clip(1 - np.abs(position[:, None] - np.arange(cells)), 0, None).astype(np.float32)
    return weights


def separable(images: NDArray[Any], rows: Floats, columns: Floats) -> Floats:
    """Apply one linear map along the height and one along the width.

    Args:
        images: [n, height, width, channels].
        rows: float32 [new height, height].
        columns: float32 [new width, width].

    Returns:
        float32 [n, new height, new width, channels].
    """
    planes = np.ascontiguousarray(np.moveaxis(images, 3, 1), dtype=np.float32)
    return np.moveaxis(np.matmul(np.matmul(rows, planes), np.ascontiguousarray(columns.T)), 1, 3)


def sample_bilinear(
    images: NDArray[Any], rows: NDArray[np.float64], columns: NDArray[np.float64], fill: Floats
) -> Floats:
    """Read images at fractional positions; outside there is nothing but the fill colour.

    Args:
        images: [n, height, width, channels].
        rows: float64 [n, h, w], the row to read for each new pixel; 0 is the first pixel's centre.
        columns: float64 [n, h, w].
        fill: float32 [n, 1, 1, channels].

    Returns:
        float32 [n, h, w, channels].
    """
    count, height, width, channels = images.shape
    padded = np.broadcast_to(fill, (count, height + 2, width + 2, channels)).astype(np.float32)
    padded[:, 1:-1, 1:-1] = images
    row, column = np.clip(rows + 1, 0, height + 1), np.clip(columns + 1, 0, width + 1)
    top, left = np.minimum(row.astype(np.int64), height), np.minimum(column.astype(np.int64), width)
    down, right = (row - top).astype(np.float32), (column - left).astype(np.float32)
    stride = width + 2
    corner = np.arange(count)[:, None, None] * (height + 2) * stride + top * stride + left
    result = np.empty((*rows.shape, channels), dtype=np.float32)
    for channel in range(channels):
        plane = padded[..., channel].ravel()
        upper = plane[corner] * (1 - right) + plane[corner + 1] * right
        lower = plane[corner + stride] * (1 - right) + plane[corner + stride + 1] * right
        result[..., channel] = upper * (1 - down) + lower * down
    return result


def smooth_field(draws: Draws, shape: tuple[int, int], *, fields: int, knots: int) -> Floats:
    """Random smooth surfaces, the same up to resolution for an image of any size.

    A surface is a cubic B-spline over `knots` x `knots` uniform random coefficients, stretched so that its
    lowest point is 0 and its highest 1.

    Args:
        draws: The examples' random streams.
        shape: Height and width in pixels.
        fields: Surfaces per example.
        knots: Coefficients along each side, at least 4; more give a busier surface.

    Returns:
        float32 [n, fields, height, width] in 0..1.
    """
    coefficients = draws.uniform(fields, knots, knots).astype(np.float32)
    rows, columns = _spline_weights(shape[0], knots), _spline_weights(shape[1], knots)
    surface = np.matmul(np.matmul(rows, coefficients), np.ascontiguousarray(columns.T))
    low = surface.min(axis=(2, 3), keepdims=True)
    stretched: Floats = (surface - low) / (surface.max(axis=(2, 3), keepdims=True) - low)
    return stretched


def _spline_weights(size: int, knots: int) -> Floats:
    position = (np.arange(size) + 0.5) / size * (knots - 3)
    first = position.astype(np.int64)
    u = position - first
    basis = np.stack([(1 - u) ** 3, 3 * u**3 - 6 * u**2 + 4, -3 * u**3 + 3 * u**2 + 3 * u + 1, u**3], axis=1) / 6
    weights = np.zeros((size, knots))
    np.put_along_axis(weights, first[:, None] + np.arange(4), basis, axis=1)
    return weights.astype(np.float32)
