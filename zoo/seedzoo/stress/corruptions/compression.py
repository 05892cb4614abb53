"""Lossy storage: JPEG."""

from __future__ import annotations

import io

import numpy as np
from PIL import Image

from seedzoo.stress.condition import Kind
from seedzoo.stress.corruptions.images import Images, image_corruption
from seedzoo.stress.draws import Draws

__all__ = ["KINDS", "as_picture", "jpeg", "jpeg_round_trip"]


@image_corruption
def jpeg(images: Images, draws: Draws, *, quality: int) -> Images:  # noqa: ARG001 - every corruption takes draws
    """Store as JPEG and read again.

    Args:
        images: uint8 [n, height, width, channels].
        draws: Not used.
        quality: Pillow's quality, 1 to 95.
    """
    return jpeg_round_trip(images, quality)


def jpeg_round_trip(images: Images, quality: int) -> Images:
    """uint8 [n, height, width, 1 or 3] through JPEG; one channel is stored as a grey picture."""
    result = np.empty_like(images)
    for image, read in zip(images, result, strict=True):
        stored = io.BytesIO()
        as_picture(image).save(stored, "JPEG", quality=quality)
        stored.seek(0)
        with Image.open(stored, formats=("JPEG",)) as picture:
            read[:] = np.asarray(picture).reshape(image.shape)
    return result


def as_picture(image: Images) -> Image.Image:
    """A Pillow picture of uint8 [height, width, 1 or 3]; unlike `Image.fromarray` it copies at most once."""
    height, width, channels = image.shape
    mode = "L" if channels == 1 else "RGB"
    return Image.frombuffer(mode, (width, height), np.ascontiguousarray(image), "raw", mode, 0, 1)


KINDS = (
    Kind(
        name="jpeg",
        function=jpeg,
        description="Strongly compressed as JPEG",
        levels=(
            {"quality": 25},
            {"quality": 10},
            {"quality": 4},
        ),  # ImageNet-C: 25, 18, 15, 10, 7; the last is our own
    ),
)
