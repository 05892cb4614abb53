"""Lossy storage: JPEG."""

from __future__ import annotations

import contextlib
import io
from collections.abc import Iterator
from typing import Any

import numpy as np
from PIL import Image
from PIL.JpegImagePlugin import JpegImageFile

from seedzoo.stress.condition import Kind
from seedzoo.stress.corruptions.images import Images, image_corruption
from seedzoo.stress.draws import Draws

__all__ = ["KINDS", "as_picture", "jpeg", "jpeg_round_trip", "kept_memory"]

# Pillow's blocks of 1 MiB: a small picture takes one, a larger one more.
_KEPT_BLOCKS = 8


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
    with kept_memory():
        for image, read in zip(images, result, strict=True):
            stored = io.BytesIO()
            as_picture(image).save(stored, "JPEG", quality=quality)
            stored.seek(0)
            # What was just written is known to be JPEG: Image.open would look it up among its formats first.
            read[:] = np.frombuffer(JpegImageFile(stored).tobytes(), np.uint8).reshape(image.shape)
    return result


@contextlib.contextmanager
def kept_memory() -> Iterator[None]:
    """Let Pillow keep the memory of one picture for the next, which it returns to the system otherwise.

    New memory costs a page fault for every 4 KiB: half the time of reading a picture of 224 px. The setting belongs
    to the process (Pillow's manual, "Block Allocator"), so it is put back; two threads that cross each other here
    leave at worst these few MiB behind.
    """
    core: Any = Image.core  # type: ignore[attr-defined]  # what the manual calls it
    before = core.get_blocks_max()
    core.set_blocks_max(max(before, _KEPT_BLOCKS))
    try:
        yield
    finally:
        core.set_blocks_max(before)


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
