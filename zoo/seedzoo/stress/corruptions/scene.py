"""Other things in the picture: occlusion in front of the object, background behind it."""

from __future__ import annotations

import numpy as np

from seedzoo.stress.condition import Kind
from seedzoo.stress.corruptions.images import Floats, Images, image_corruption, shorter_side, smooth_field
from seedzoo.stress.draws import Draws

__all__ = ["KINDS", "background", "occlusion"]

# The background shows fully behind black and fades out up to this share of full brightness.
_DARK = 0.12


@image_corruption
def occlusion(images: Images, draws: Draws, *, side: float) -> Images:
    """Cover a square at a random place with a random shade of grey.

    Args:
        images: uint8 [n, height, width, channels].
        draws: The examples' random streams.
        side: Side of the square as a share of the image's shorter side.
    """
    height, width = images.shape[1:3]
    pixels = max(1, round(side * shorter_side(images)))
    top = np.floor(draws.uniform() * (height - pixels + 1))[:, None]
    left = np.floor(draws.uniform() * (width - pixels + 1))[:, None]
    # Neither black nor white, which could pass for the background.
    shade = np.rint(64 + 128 * draws.uniform()).astype(np.uint8)[:, None, None, None]
    row, column = np.arange(height), np.arange(width)
    rows, columns = (row >= top) & (row < top + pixels), (column >= left) & (column < left + pixels)
    return np.where((rows[:, :, None] & columns[:, None, :])[..., None], shade, images)


@image_corruption
def background(images: Images, draws: Draws, *, level: float, knots: int) -> Floats:
    """Put a random smooth pattern behind what is dark; each colour channel has its own.

    Args:
        images: uint8 [n, height, width, channels].
        draws: The examples' random streams.
        level: Brightness of the pattern's brightest point as a share of full brightness.
        knots: Coefficients of the pattern along each side; more make it busier.
    """
    channels = images.shape[3]
    pattern = smooth_field(draws, (images.shape[1], images.shape[2]), fields=channels, knots=knots)
    brightest = images.max(axis=3, keepdims=True).astype(np.float32)
    seen = np.clip(1 - brightest / np.float32(255 * _DARK), 0, 1)
    behind = np.moveaxis(pattern, 1, 3) * np.float32(255 * level)
    # The pattern never darkens a pixel: it is light that comes from behind.
    lit: Floats = images + seen * np.maximum(behind - images, 0)
    return lit


KINDS = (
    Kind(
        name="occlusion",
        function=occlusion,
        description="Partly covered by a grey square",
        levels=({"side": 0.25}, {"side": 0.4}, {"side": 0.55}),  # own choice
    ),
    Kind(
        name="background",
        function=background,
        description="Before a smooth random background",
        levels=(  # own choice
            {"level": 0.25, "knots": 6},
            {"level": 0.5, "knots": 6},
            {"level": 0.8, "knots": 6},
        ),
    ),
)
