"""Blur: gaussian (out of focus) and motion. Lengths are shares of the shorter side."""

from __future__ import annotations

import math

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from seedzoo.stress.condition import Kind
from seedzoo.stress.corruptions.images import Floats, Images, image_corruption, shorter_side
from seedzoo.stress.draws import Draws

__all__ = ["KINDS", "blurred", "gaussian_blur", "motion_blur"]


@image_corruption
def gaussian_blur(images: Images, draws: Draws, *, sigma: float) -> Floats:  # noqa: ARG001 - every corruption takes draws
    """Convolve with a normal density; the border pixels continue outside.

    Args:
        images: uint8 [n, height, width, channels].
        draws: Not used.
        sigma: Standard deviation as a share of the shorter side.
    """
    return blurred(images.astype(np.float32), sigma * shorter_side(images))


def blurred(images: Floats, pixels: float) -> Floats:
    """Gaussian blur of float32 [n, height, width, channels] with a standard deviation in pixels."""
    result: Floats = ndimage.gaussian_filter(images, sigma=(0, pixels, pixels, 0), mode="nearest")
    return result


@image_corruption
def motion_blur(images: Images, draws: Draws, *, length: float) -> Floats:
    """Average along a straight line of random direction; the border pixels continue outside.

    Args:
        images: uint8 [n, height, width, channels].
        draws: The examples' random streams.
        length: Length of the line as a share of the shorter side.
    """
    angles = np.pi * draws.uniform()
    pixels = length * shorter_side(images)
    result = np.empty(images.shape, dtype=np.float32)
    for image, angle, blurry in zip(images, angles.tolist(), result, strict=True):
        # The filter skips zero weights, so a line costs its length, not its square.
        ndimage.correlate(image, _line(pixels, angle)[:, :, None], output=blurry, mode="nearest")
    return result


def _line(length: float, angle: float) -> NDArray[np.float64]:
    """Weights of a centred line, its points spread over the nearest pixels; they sum to 1."""
    reach = math.ceil(length / 2) + 1
    points = np.linspace(-length / 2, length / 2, 4 * reach + 1)
    pixel = np.arange(-reach, reach + 1)[:, None]
    rows = np.clip(1 - np.abs(points * math.sin(angle) - pixel), 0, None)
    columns = np.clip(1 - np.abs(points * math.cos(angle) - pixel), 0, None)
    weights: NDArray[np.float64] = (rows[:, None, :] * columns[None, :, :]).sum(axis=2) / len(points)
    return weights


KINDS = (
    Kind(
        name="gaussian-blur",
        function=gaussian_blur,
        description="Out of focus",
        levels=({"sigma": 0.025}, {"sigma": 0.045}, {"sigma": 0.075}),  # own choice: 0.7, 1.3, 2.1 px of 28
    ),
    Kind(
        name="motion-blur",
        function=motion_blur,
        description="Smeared along a random direction",
        levels=({"length": 0.12}, {"length": 0.22}, {"length": 0.36}),  # own choice: 3, 6, 10 px of 28
    ),
)
