"""Glass blur: the picture behind rippled glass."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from seedzoo.stress.corruptions.imagenet_c.blur import gaussian
from seedzoo.stress.corruptions.imagenet_c.common import published_corruption, truncated
from seedzoo.stress.corruptions.images import Floats, Images
from seedzoo.stress.draws import Draws

__all__ = ["glass_blur"]


@published_corruption
def glass_blur(images: Images, draws: Draws, *, sigma: float, reach: int, passes: int) -> Floats:
    """Blur, let pixels take the place of near ones, blur again.

    In each pass, from the last pixel to the first, every pixel takes what is at that moment at a place up to
    `reach` before it or `reach` - 1 behind it along either axis. The original means to swap the two; since it
    swaps views of one array it copies, and so does this.

    Args:
        images: uint8 [n, height, width, channels].
        draws: The examples' random streams.
        sigma: Standard deviation of both blurs in pixels.
        reach: How far a pixel may come from.
        passes: Times that all pixels are moved.
    """
    count, height, width, channels = images.shape
    shuffled = truncated(gaussian(images, sigma)).reshape(count, height * width, channels)
    if min(height, width) > 2 * reach:
        words = draws.words(np.uint16, passes, height - 2 * reach, width - 2 * reach)
        for image, moves in zip(shuffled, words, strict=True):
            for move in moves:
                image[:] = image.take(_sources(move, height, width, reach), axis=0)
    return gaussian(shuffled.reshape(images.shape), sigma)


def _sources(words: NDArray[np.uint16], height: int, width: int, reach: int) -> NDArray[np.intp]:
    """Where each pixel's value comes from after one pass, as places in the flattened image [height * width].

    A pixel reads either a pixel that was moved before it, and so that one's source, or one that still holds its
    own value. These readings are chains; each round of following them doubles how far they are followed.
    """
    rows, columns = np.arange(reach + 1, height - reach + 1), np.arange(reach + 1, width - reach + 1)
    place = (rows[:, None] * width + columns).astype(np.intp)
    side = 2 * reach
    down, right = np.divmod(np.arange(side * side), side)
    offsets = ((down - reach) * width + right - reach).astype(np.intp)
    choice = (words.astype(np.uint32) * np.uint32(side * side)) >> np.uint32(16)
    read = place + offsets[choice]
    source = np.arange(height * width, dtype=np.intp)
    # What is read from a place that this pass has not come to yet, or never comes to, is final.
    follow = source.copy()
    inside = np.zeros(height * width, dtype=bool)
    inside[place] = True
    moved = inside[read] & (read > place)
    follow[place] = np.where(moved, read, place)
    source[place] = read
    while True:
        further = follow[follow]
        if np.array_equal(further, follow):
            break
        follow = further
    return source[follow]
