"""Spatter: drops of water or of mud on the lens."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from seedzoo.stress.corruptions.imagenet_c.blur import gaussian
from seedzoo.stress.corruptions.imagenet_c.common import grey, published_corruption
from seedzoo.stress.corruptions.images import Floats, Images
from seedzoo.stress.draws import Draws

__all__ = ["canny", "distance_to", "equalised", "spatter"]

_WATER, _MUD = (175.0, 238.0, 238.0), (63.0, 42.0, 20.0)
_FAR = 20
_EIGHT = np.ones((3, 3), dtype=bool)


@published_corruption
def spatter(
    images: Images,
    draws: Draws,
    *,
    mean: float,
    sd: float,
    sigma: float,
    threshold: float,
    amount: float,
    mud: int,
) -> Floats:
    """Drops where smoothed noise exceeds a threshold: water, embossed and added, or mud, which covers.

    Args:
        images: uint8 [n, height, width, channels].
        draws: The examples' random streams.
        mean: Of the noise.
        sd: Standard deviation of the noise.
        sigma: Standard deviation of its smoothing in pixels.
        threshold: Above it is liquid.
        amount: Water: brightness of the brightest drop; mud: standard deviation of the drops' rim in pixels.
        mud: 1 for mud, 0 for water.
    """
    height, width, channels = images.shape[1:]
    noise = draws.coarse_normal(height, width, 1)
    noise *= np.float32(sd)
    noise += np.float32(mean)
    liquid = gaussian(noise, sigma)
    wet = liquid >= np.float32(threshold)
    result = images.astype(np.float32)
    if mud:
        cover = gaussian(wet.astype(np.float32), amount)
        cover[cover < 0.8] = 0
        result *= 1 - cover
        result += cover * np.array(grey(_MUD, channels), dtype=np.float32)
        return result
    colour = np.array(grey(_WATER, channels), dtype=np.float32)
    levels = np.where(wet, np.clip(liquid, 0, 1) * 255, 0).astype(np.uint8)[..., 0]
    for level, out in zip(levels, result, strict=True):
        light = level * _embossed(level)
        brightest = float(light.max())
        if brightest > 0:
            light *= np.float32(amount / brightest)
            np.add(out, light[..., None] * colour, out=out)
    return result


def _embossed(level: Images) -> Floats:
    """The original's chain of OpenCV calls that makes drops out of their outlines."""
    soft = _box_sum(distance_to(canny(level, low=50, high=150))) / 9
    p = np.pad(equalised(soft.astype(np.uint8)).astype(np.int16), 1, mode="reflect")
    # The kernel (-2 -1 0, -1 1 1, 0 1 2): light from the lower right.
    raised = 2 * (p[2:, 2:] - p[:-2, :-2]) + p[2:, 1:-1] - p[:-2, 1:-1]
    raised += p[1:-1, 2:] - p[1:-1, :-2] + p[1:-1, 1:-1]
    drops: Floats = np.rint(_box_sum(np.clip(raised, 0, 255).astype(np.float32)) / 9)
    return drops


def _box_sum(image: Floats) -> Floats:
    """Sum over 3 x 3 pixels; outside is the reflection about the border pixels."""
    p = np.pad(image, 1, mode="reflect")
    rows = p[:-2] + p[1:-1] + p[2:]
    total: Floats = rows[:, :-2] + rows[:, 1:-1] + rows[:, 2:]
    return total


def canny(image: Images, *, low: int, high: int) -> NDArray[np.bool_]:
    """``cv2.Canny`` with its defaults: Sobel 3 x 3, |dx| + |dy|, thin edges, hysteresis (Canny 1986).

    Args:
        image: uint8 [height, width].
        low: An edge pixel's gradient exceeds it.
        high: Some pixel of a connected edge exceeds it.

    Returns:
        bool [height, width].
    """
    p = np.pad(image.astype(np.int32), 1, mode="edge")
    side, upright = p[:-2] + 2 * p[1:-1] + p[2:], p[:, :-2] + 2 * p[:, 1:-1] + p[:, 2:]
    dx, dy = side[:, 2:] - side[:, :-2], upright[2:] - upright[:-2]
    size = np.abs(dx) + np.abs(dy)
    if not (size > high).any():
        return np.zeros(image.shape, dtype=bool)
    q = np.pad(size, 1)
    rows, columns = np.nonzero(size > low)
    gx, gy, here = dx[rows, columns], dy[rows, columns], size[rows, columns]
    # OpenCV's tangents of 22.5 and 67.5 degrees in 15 bits.
    flat = np.abs(gx).astype(np.int64) * 13573
    tall = np.abs(gy).astype(np.int64) << 15
    across = tall < flat
    along = tall > flat + (np.abs(gx).astype(np.int64) << 16)
    slope = np.where((gx ^ gy) < 0, -1, 1)
    step_y = np.where(across, 0, 1)
    step_x = np.where(across, 1, np.where(along, 0, slope))
    before = q[rows + 1 - step_y, columns + 1 - step_x]
    after = q[rows + 1 + step_y, columns + 1 + step_x]
    thin = (here > before) & np.where(across | along, here >= after, here > after)
    edge = np.zeros(image.shape, dtype=bool)
    edge[rows[thin], columns[thin]] = True
    parts, count = ndimage.label(edge, structure=_EIGHT)
    strong = np.zeros(count + 1, dtype=bool)
    strong[parts[edge & (size > high)]] = True
    strong[0] = False
    return strong[parts]


def distance_to(edges: NDArray[np.bool_]) -> Floats:
    """Distance of every pixel to the nearest edge pixel, at most 20, float32 [height, width].

    Exact where OpenCV's 5 x 5 mask is off by up to 2 %. Along the columns first, then over the columns within
    reach (Felzenszwalb & Huttenlocher 2012, "Distance transforms of sampled functions").
    """
    height, width = edges.shape
    row = np.arange(height, dtype=np.int16)[:, None]
    above = row - np.maximum.accumulate(np.where(edges, row, -_FAR - 1).astype(np.int16), axis=0)
    beyond = np.where(edges, row, height + _FAR).astype(np.int16)
    below = np.minimum.accumulate(beyond[::-1], axis=0)[::-1] - row
    square = np.minimum(np.minimum(above, below), _FAR).astype(np.int16) ** 2
    nearest = square.copy()
    for shift in range(1, min(_FAR, width)):
        bound = square + np.int16(shift * shift)
        np.minimum(nearest[:, shift:], bound[:, :-shift], out=nearest[:, shift:])
        np.minimum(nearest[:, :-shift], bound[:, shift:], out=nearest[:, :-shift])
    distance: Floats = np.sqrt(nearest, dtype=np.float32)
    return distance


def equalised(image: Images) -> Images:
    """``cv2.equalizeHist`` of uint8 [height, width]: levels spread so that each has about as many pixels."""
    counts = np.bincount(image.ravel(), minlength=256)
    lowest = int(np.argmax(counts > 0))
    others = image.size - int(counts[lowest])
    if not others:
        return image
    counts[: lowest + 1] = 0
    levels = np.rint(np.cumsum(counts) * (255 / others)).astype(np.uint8)
    spread: Images = levels[image]
    return spread
