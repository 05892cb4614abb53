"""Light and colour: brightness, contrast, saturate."""

from __future__ import annotations

import math

import numpy as np

from seedzoo.stress.corruptions.imagenet_c.common import published_corruption
from seedzoo.stress.corruptions.images import Floats, Images
from seedzoo.stress.draws import Draws

__all__ = ["brightness", "contrast", "saturate"]

# ruff: noqa: ARG001 - every corruption takes draws; none here is random


@published_corruption
def brightness(images: Images, draws: Draws, *, amount: float) -> Floats:
    """Add to V of the HSV colour model, the largest channel; hue and saturation stay, and black turns grey.

    Args:
        images: uint8 [n, height, width, channels].
        draws: Not used.
        amount: What is added, as a share of full brightness.
    """
    result = np.empty(images.shape, dtype=np.float32)
    for image, out in zip(images, result, strict=True):
        value = _largest(image).astype(np.float32)
        ratio = np.minimum(value + np.float32(255 * amount), 255) / np.maximum(value, 1)
        for channel in range(image.shape[2]):
            np.multiply(image[..., channel], ratio, out=out[..., channel])
        out[value == 0] = 255 * amount
    return result


@published_corruption
def contrast(images: Images, draws: Draws, *, factor: float) -> Floats:
    """Move every value towards its image's mean, channel by channel: mean + factor (x - mean).

    Args:
        images: uint8 [n, height, width, channels].
        draws: Not used.
        factor: Share of the distance to the mean that is left.
    """
    count, height, width, channels = images.shape
    columns = images.reshape(count, height, width * channels).sum(axis=1, dtype=np.uint32)
    mean = columns.reshape(count, width, channels).sum(axis=1, dtype=np.int64) / math.prod(images.shape[1:3])
    offset = np.tile((mean * (1 - factor)).astype(np.float32), (1, width)).reshape(count, 1, width, channels)
    result = np.multiply(images, np.float32(factor), dtype=np.float32)
    result += offset
    return result


@published_corruption
def saturate(images: Images, draws: Draws, *, factor: float, offset: float) -> Floats:
    """Set S of the HSV colour model, (max - min) / max, to S factor + offset; hue and V stay.

    A grey pixel has the hue red, as in the original, so an offset gives it that colour. An image of one channel
    has no saturation and stays as it is.

    Args:
        images: uint8 [n, height, width, channels].
        draws: Not used.
        factor: Of the saturation.
        offset: Added to it.
    """
    result = images.astype(np.float32)
    if images.shape[3] == 1:
        return result
    for image, out in zip(images, result, strict=True):
        value = _largest(image).astype(np.float32)
        chroma = value - np.minimum(np.minimum(image[..., 0], image[..., 1]), image[..., 2])
        saturation = chroma / np.maximum(value, 1)
        wanted = np.clip(saturation * np.float32(factor) + np.float32(offset), 0, 1) * value
        ratio = wanted / np.maximum(chroma, 1)
        for channel in range(3):
            distance = value - image[..., channel]
            distance *= ratio
            np.subtract(value, distance, out=out[..., channel])
        if offset:
            plain = chroma == 0
            for channel in (1, 2):
                out[..., channel][plain] = (value - wanted)[plain]
    return result


def _largest(image: Images) -> Images:
    """The largest channel of every pixel, [height, width]."""
    if image.shape[2] == 1:
        return image[..., 0]
    largest: Images = np.maximum(np.maximum(image[..., 0], image[..., 1]), image[..., 2])
    return largest
