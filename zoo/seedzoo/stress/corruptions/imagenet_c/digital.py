"""Elastic transform, pixelate, JPEG."""

from __future__ import annotations

import functools

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from seedzoo.stress.corruptions.compression import as_picture, jpeg_round_trip, kept_memory
from seedzoo.stress.corruptions.imagenet_c.common import published_corruption
from seedzoo.stress.corruptions.images import Floats, Images
from seedzoo.stress.draws import Draws

__all__ = ["elastic_transform", "jpeg_compression", "pixelate"]


@published_corruption
def elastic_transform(images: Images, draws: Draws, *, alpha: float, sigma: float, affine: float, side: int) -> Floats:
    """A random affine map of three points, then a random smooth displacement (Simard et al. 2003).

    Each step reads the image by bilinear interpolation; outside is its reflection, about the border pixels in the
    first step and about the border's edge in the second.

    Args:
        images: uint8 [n, height, width, channels].
        draws: The examples' random streams.
        alpha: Factor of the displacement, in pixels of an image with that `side`.
        sigma: Standard deviation of its smoothing, likewise.
        affine: Bound of the uniform numbers by which the three points move, likewise.
        side: Side to which the lengths belong; they scale with the shorter side.
    """
    height, width, channels = images.shape[1:]
    scale = min(height, width) / side
    inverse = _inverse_maps(draws, height, width, affine * scale)
    fields = draws.coarse_uniform(2, height, width)
    fields *= 2
    fields -= 1
    down, across = _smoothing(height, sigma * scale), _smoothing(width, sigma * scale).T.copy()
    row, column = np.arange(height, dtype=np.float32)[:, None], np.arange(width, dtype=np.float32)
    result = np.empty(images.shape, dtype=np.float32)
    for image, field, (by_row, by_column), out in zip(images, fields, inverse, result, strict=True):
        planes = np.ascontiguousarray(np.moveaxis(image, 2, 0), dtype=np.float32)
        rows, columns = (one[0] * row + one[1] * column + one[2] for one in (by_row, by_column))
        turned = _read(planes, rows, columns, "reflect")
        smooth = np.matmul(np.matmul(down, field), across)
        smooth *= np.float32(alpha * scale)
        bent = _read(turned, row + smooth[1], column + smooth[0], "symmetric")
        for channel in range(channels):
            out[..., channel] = bent[channel]
    return result


def _inverse_maps(draws: Draws, height: int, width: int, bound: float) -> Floats:
    """For every example the affine map from new to old places: float32 [n, 2, 3], rows then columns."""
    # The original takes (height, width) for (x, y) here, which is the same in a square image.
    middle, reach = np.array([height // 2, width // 2]), min(height, width) // 3
    points = middle + reach * np.array([[1, 1], [1, -1], [-1, -1]])
    # On a tiny image the bound may let the three points fall on one line; a third of their distance may not.
    moves = min(bound, reach * 2 / 3) * (2 * draws.uniform(3, 2) - 1)
    new = np.concatenate([points + moves, np.ones((len(moves), 3, 1))], axis=2)
    maps = np.linalg.solve(new, np.broadcast_to(points.astype(np.float64), (len(moves), 3, 2)))
    # maps[:, :, k]: old coordinate k from (x, y, 1); turned into rows first.
    return maps.transpose(0, 2, 1)[:, ::-1][:, :, [1, 0, 2]].astype(np.float32)


@functools.lru_cache(maxsize=32)
def _smoothing(size: int, sigma: float) -> Floats:
    """``scipy.ndimage.gaussian_filter1d`` with mode "reflect" and truncate 3 as a matrix [size, size]."""
    reach = int(3 * sigma + 0.5)
    offset = np.arange(-reach, reach + 1)
    weights = np.exp(-0.5 * (offset / max(sigma, 1e-9)) ** 2)
    weights /= weights.sum()
    place = (np.arange(size)[:, None] + offset) % (2 * size)
    place = np.minimum(place, 2 * size - 1 - place)
    matrix = np.zeros((size, size))
    np.add.at(matrix, (np.arange(size)[:, None], place), weights)
    return matrix.astype(np.float32)


def _read(planes: Floats, rows: Floats, columns: Floats, mode: str) -> Floats:
    """Read planes [c, height, width] at fractional places [height, width] by bilinear interpolation."""
    top, left = np.floor(rows), np.floor(columns)
    down, right = rows - top, columns - left
    (first, last), (west, east) = ((int(near.min()), int(near.max()) + 1) for near in (top, left))
    height, width = planes.shape[1:]
    above, before = max(0, -first), max(0, -west)
    padding = ((0, 0), (above, max(0, last - height + 1)), (before, max(0, east - width + 1)))
    padded: NDArray[np.float32] = np.pad(planes, padding, mode=mode)  # type: ignore[call-overload]
    stride = padded.shape[2]
    corner = (top + above).astype(np.intp)
    corner *= stride
    corner += (left + before).astype(np.intp)
    result = np.empty((len(planes), *rows.shape), dtype=np.float32)
    for plane, out in zip(padded.reshape(len(planes), -1), result, strict=True):
        upper, lower = (
            _between(plane[shift:].take(corner), plane[shift + 1 :].take(corner), right) for shift in (0, stride)
        )
        out[:] = _between(upper, lower, down)
    return result


def _between(start: Floats, end: Floats, share: Floats) -> Floats:
    """Start + share (end - start), computed in the second array."""
    end -= start
    end *= share
    end += start
    return end


@published_corruption
def pixelate(images: Images, draws: Draws, *, scale: float) -> Images:  # noqa: ARG001 - every corruption takes draws
    """Shrink with Pillow's box filter and enlarge again with it.

    Args:
        images: uint8 [n, height, width, channels].
        draws: Not used.
        scale: Size of the small picture relative to the image, rounded down to whole pixels.
    """
    height, width = images.shape[1:3]
    small = max(1, int(width * scale)), max(1, int(height * scale))
    plain = _is_plain_copy(small[0], width) and _is_plain_copy(small[1], height)
    enlarge = Image.Resampling.NEAREST if plain else Image.Resampling.BOX
    result = np.empty_like(images)
    with kept_memory():
        for image, out in zip(images, result, strict=True):
            blocks = as_picture(image).resize(small, Image.Resampling.BOX).resize((width, height), enlarge)
            out[:] = np.asarray(blocks).reshape(image.shape)
    return result


@functools.cache
def _is_plain_copy(small: int, size: int) -> bool:
    """Whether enlarging a line with the box filter copies nearest pixels, which is ten times faster done so.

    It averages two neighbours where the middle of a new pixel falls on their common edge.
    """
    line = Image.fromarray(np.arange(small, dtype=np.float32)[None])
    box, nearest = (
        np.asarray(line.resize((size, 1), filter_)) for filter_ in (Image.Resampling.BOX, Image.Resampling.NEAREST)
    )
    return np.array_equal(box, nearest)


@published_corruption
def jpeg_compression(images: Images, draws: Draws, *, quality: int) -> Images:  # noqa: ARG001
    """Store as JPEG and read again; an image of one channel is stored as a grey picture.

    Args:
        images: uint8 [n, height, width, channels].
        draws: Not used.
        quality: Pillow's quality, 1 to 95.
    """
    return jpeg_round_trip(images, quality)
