"""Strokes and outlines of bright objects: thick, thin. Lengths are shares of the shorter side."""

from __future__ import annotations

import math

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from seedzoo.stress.condition import Kind
from seedzoo.stress.corruptions.images import Images, image_corruption, shorter_side
from seedzoo.stress.draws import Draws

__all__ = ["KINDS", "thick", "thin"]

# ruff: noqa: ARG001 - every corruption takes draws; none here is random


@image_corruption
def thick(images: Images, draws: Draws, *, radius: float) -> Images:
    """Give every pixel the brightest value within a radius (grey dilation): bright parts grow.

    Args:
        images: uint8 [n, height, width, channels].
        draws: Not used.
        radius: Share of the shorter side; at least the four neighbours count.
    """
    grown: Images = ndimage.grey_dilation(images, footprint=_disc(radius * shorter_side(images)), mode="nearest")
    return grown


@image_corruption
def thin(images: Images, draws: Draws, *, radius: float) -> Images:
    """Give every pixel the darkest value within a radius (grey erosion): bright parts shrink.

    Args:
        images: uint8 [n, height, width, channels].
        draws: Not used.
        radius: Share of the shorter side; at least the four neighbours count.
    """
    shrunk: Images = ndimage.grey_erosion(images, footprint=_disc(radius * shorter_side(images)), mode="nearest")
    return shrunk


def _disc(pixels: float) -> NDArray[np.bool_]:
    """Pixels within the radius of the middle one, [1, k, k, 1]."""
    pixels = max(1.0, pixels)
    line = np.arange(-math.floor(pixels), math.floor(pixels) + 1)
    inside: NDArray[np.bool_] = line[:, None] ** 2 + line[None, :] ** 2 <= pixels**2
    return inside[None, :, :, None]


# Own choice: at 28 px a pixel's 4 neighbours; then a disc of 13 pixels (thick), or 3 x 3 (thin), since more
# would wear away trouser legs and sandals.
KINDS = (
    Kind(
        name="thick",
        function=thick,
        description="Bright parts grown",
        levels=({"radius": 0.036}, {"radius": 0.072}),
    ),
    Kind(
        name="thin",
        function=thin,
        description="Bright parts worn away",
        levels=({"radius": 0.036}, {"radius": 0.054}),
    ),
)
