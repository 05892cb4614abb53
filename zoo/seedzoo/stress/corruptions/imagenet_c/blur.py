"""Blurs: gaussian, defocus, motion, zoom. Lengths are in pixels, as published."""

from __future__ import annotations

import functools
import math

import numpy as np
from scipy import ndimage

from seedzoo.stress.corruptions.imagenet_c.common import correlated, padded_planes, published_corruption
from seedzoo.stress.corruptions.images import Floats, Images
from seedzoo.stress.draws import Draws

__all__ = ["defocus_blur", "enlarging", "gaussian", "gaussian_blur", "motion_blur", "motion_kernel", "zoom_blur"]

# Up to this standard deviation few enough pixels count for a direct sum to be faster than an FFT.
_DIRECT = 2


@published_corruption
def gaussian_blur(images: Images, draws: Draws, *, sigma: float) -> Floats:  # noqa: ARG001 - every corruption takes draws
    """Convolve with a normal density cut off at 4 sd; the border pixels continue outside.

    Args:
        images: uint8 [n, height, width, channels].
        draws: Not used.
        sigma: Standard deviation in pixels.
    """
    return gaussian(images, sigma)


def gaussian(images: Images | Floats, sigma: float) -> Floats:
    """``skimage.filters.gaussian`` of uint8 or float32 [n, height, width, channels], as float32."""
    result = np.empty(images.shape, dtype=np.float32)
    if sigma <= _DIRECT:
        for image, blurry in zip(images, result, strict=True):
            ndimage.gaussian_filter(image, (sigma, sigma, 0), output=blurry, mode="nearest")
        return result
    reach = int(4 * sigma + 0.5)
    line = np.exp(-0.5 * (np.arange(-reach, reach + 1) / sigma) ** 2)
    line /= line.sum()
    kernel = np.outer(line, line).astype(np.float32)
    for image, blurry in zip(images, result, strict=True):
        padded = padded_planes(image, ((reach, reach), (reach, reach)), "edge")
        blurry[:] = np.moveaxis(correlated(padded, kernel), 0, 2)
    return result


@published_corruption
def defocus_blur(images: Images, draws: Draws, *, radius: float, alias_blur: float) -> Floats:  # noqa: ARG001
    """Correlate with a disc: a lens out of focus. Outside the image is its reflection about the border pixels.

    Args:
        images: uint8 [n, height, width, channels].
        draws: Not used.
        radius: Of the disc, in pixels.
        alias_blur: Standard deviation of the blur of the disc's own rim.
    """
    kernel = _disc(radius, alias_blur)
    half = len(kernel) // 2
    result = np.empty(images.shape, dtype=np.float32)
    for image, blurry in zip(images, result, strict=True):
        padded = padded_planes(image, ((half, half), (half, half)), "reflect")
        blurry[:] = np.moveaxis(correlated(padded, kernel), 0, 2)
    return result


@functools.cache
def _disc(radius: float, alias_blur: float) -> Floats:
    """The original's ``disk``: a disc, smoothed over 3 x 3 pixels (5 x 5 beyond a radius of 8).

    Where the disc reaches the rim of its array the smoothing reflects and the weights sum to a little over 1.
    """
    half, taps = (8, 3) if radius <= 8 else (math.floor(radius), 5)
    line = np.arange(-half, half + 1)
    disc = (line[:, None] ** 2 + line**2 <= radius**2).astype(np.float64)
    disc /= disc.sum()
    weights = np.exp(-0.5 * ((np.arange(taps) - taps // 2) / alias_blur) ** 2)
    weights /= weights.sum()
    for axis in (0, 1):
        disc = ndimage.correlate1d(disc, weights, axis=axis, mode="mirror")
    return disc.astype(np.float32)


@published_corruption
def motion_blur(images: Images, draws: Draws, *, radius: int, sigma: float) -> Floats:
    """Smear to one side along a line whose direction is uniform within 45 degrees of horizontal.

    ImageMagick's ``MotionBlurImage``, which the original calls: 2 radius + 1 pixels along the line, weighted by
    half a normal density.

    Args:
        images: uint8 [n, height, width, channels].
        draws: The examples' random streams.
        radius: Half the number of pixels that are averaged.
        sigma: Standard deviation of the weights in pixels.
    """
    angles = -45 + 90 * draws.uniform()
    result = np.empty(images.shape, dtype=np.float32)
    for image, angle, blurry in zip(images, angles.tolist(), result, strict=True):
        kernel, padding = motion_kernel(radius, sigma, angle)
        blurry[:] = np.moveaxis(correlated(padded_planes(image, padding, "edge"), kernel), 0, 2)
    return result


def motion_kernel(radius: int, sigma: float, angle: float) -> tuple[Floats, tuple[tuple[int, int], tuple[int, int]]]:
    """Weights of a motion blur, and how far they reach before and after a pixel along either axis.

    Args:
        radius: Half the number of pixels on the line.
        sigma: Standard deviation of the weights along the line, in pixels.
        angle: Of the line, in degrees; 0 reads pixels to the right, 90 reads downwards.

    Returns:
        float32 [h, w] that sum to 1, and the padding that a correlation with them needs.
    """
    step = np.arange(2 * radius + 1)
    weights = np.exp(-(step**2) / (2 * sigma**2))
    weights /= weights.sum()
    down = np.ceil(step * math.sin(math.radians(angle)) - 0.5).astype(np.int64)
    right = np.ceil(step * math.cos(math.radians(angle)) - 0.5).astype(np.int64)
    padding = (-int(down.min()), int(down.max())), (-int(right.min()), int(right.max()))
    kernel = np.zeros(tuple(before + after + 1 for before, after in padding))
    np.add.at(kernel, (down - down.min(), right - right.min()), weights)
    return kernel.astype(np.float32), padding


@published_corruption
def zoom_blur(images: Images, draws: Draws, *, layers: int, step: float) -> Floats:  # noqa: ARG001
    """Average of the image and of its enlargements by 1, 1 + step, ...: a zoom during the exposure.

    Args:
        images: uint8 [n, height, width, channels].
        draws: Not used.
        layers: How many enlargements.
        step: Between their factors.
    """
    height, width, channels = images.shape[1:]
    rows = np.concatenate(_enlargements(height, layers, step), axis=1)
    columns = np.stack(_enlargements(width, layers, step)).transpose(0, 2, 1).copy()
    result = np.empty(images.shape, dtype=np.float32)
    stack = np.empty((layers, height, width), dtype=np.float32)
    for image, blurry in zip(images, result, strict=True):
        for channel in range(channels):
            plane = image[..., channel].astype(np.float32)
            # Two products for all layers: each one across, then all of them down and summed.
            np.matmul(plane, columns, out=stack)
            summed = rows @ stack.reshape(layers * height, width)
            blurry[..., channel] = (plane + summed) / np.float32(layers + 1)
    return result


@functools.lru_cache(maxsize=16)
def _enlargements(size: int, layers: int, step: float) -> tuple[Floats, ...]:
    """For each layer the weights [size, size] that enlarge a line of pixels."""
    weights = []
    for layer in range(layers):
        enlarge = enlarging(size, 1 + step * layer)
        crop = enlarge.shape[1]
        start = (size - crop) // 2
        weights.append(np.pad(enlarge, ((0, 0), (start, size - crop - start))))
    return tuple(weights)


def enlarging(size: int, factor: float) -> Floats:
    """One axis of the original's ``clipped_zoom``: enlarge the middle by linear interpolation, cut to the size.

    ``scipy.ndimage.zoom`` of order 1: first and last pixel of the crop stay first and last of the enlargement.

    Returns:
        float32 [size, crop]: weights of the crop's pixels; the crop is ceil(size / factor) pixels long.
    """
    crop = math.ceil(size / factor)
    enlarged = max(size, round(crop * factor))
    trim = (enlarged - size) // 2
    position = (np.arange(size) + trim) * ((crop - 1) / max(1, enlarged - 1))
    weights: Floats = np.clip(1 - np.abs(position[:, None] - np.arange(crop)), 0, None).astype(np.float32)
    return weights
