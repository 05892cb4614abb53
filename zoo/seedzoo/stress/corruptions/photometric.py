"""Light and tone: brightness, darkness, contrast, inversion."""

from __future__ import annotations

import math

import numpy as np

from seedzoo.stress.condition import Kind
from seedzoo.stress.corruptions.images import Floats, Images, image_corruption
from seedzoo.stress.draws import Draws

__all__ = ["KINDS", "brightness", "contrast", "darkness", "inversion"]

# ruff: noqa: ARG001 - every corruption takes draws; none here is random


@image_corruption
def brightness(images: Images, draws: Draws, *, amount: float) -> Floats:
    """Add to the brightness and keep hue and saturation, as ImageNet-C does.

    The brightness of a pixel is its largest channel (V of the HSV colour model); a black pixel turns grey.

    Args:
        images: uint8 [n, height, width, channels].
        draws: Not used.
        amount: What is added, as a share of full brightness.
    """
    values = images.astype(np.float32)
    old = values.max(axis=3, keepdims=True)
    new = np.minimum(old + np.float32(255 * amount), np.float32(255))
    brighter: Floats = np.where(old > 0, values * (new / np.maximum(old, 1)), new)
    return brighter


@image_corruption
def darkness(images: Images, draws: Draws, *, factor: float) -> Floats:
    """Multiply every value: an exposure that is too short.

    Args:
        images: uint8 [n, height, width, channels].
        draws: Not used.
        factor: Share of the light that is left.
    """
    return images * np.float32(factor)


@image_corruption
def contrast(images: Images, draws: Draws, *, factor: float) -> Floats:
    """Move every value towards its image's mean, channel by channel: mean + factor x (value - mean).

    Args:
        images: uint8 [n, height, width, channels].
        draws: Not used.
        factor: Share of the distance to the mean that is left.
    """
    pixels = math.prod(images.shape[1:3])
    mean = (images.sum(axis=(1, 2), keepdims=True, dtype=np.int64) / pixels).astype(np.float32)
    flatter: Floats = mean + np.float32(factor) * (images - mean)
    return flatter


@image_corruption
def inversion(images: Images, draws: Draws) -> Images:
    """Turn black into white and white into black: 255 - value."""
    return np.uint8(255) - images


KINDS = (
    Kind(
        name="brightness",
        function=brightness,
        description="Brighter, black turned grey",
        levels=({"amount": 0.1}, {"amount": 0.3}, {"amount": 0.5}),  # ImageNet-C's severities 1, 3, 5
    ),
    Kind(
        name="darkness",
        function=darkness,
        description="Underexposed",
        levels=({"factor": 0.6}, {"factor": 0.35}, {"factor": 0.2}),  # own choice
    ),
    Kind(
        name="contrast",
        function=contrast,
        description="Contrast lowered around the image's mean",
        # Own choice for the first; then ImageNet-C's severities 1, 3 and 4.
        levels=({"factor": 0.7}, {"factor": 0.4}, {"factor": 0.2}, {"factor": 0.1}),
    ),
    Kind(name="inversion", function=inversion, description="Black and white exchanged"),
)
