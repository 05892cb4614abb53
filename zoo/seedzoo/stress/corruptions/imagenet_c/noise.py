"""Noise that hits every value by itself: gaussian, shot, impulse, speckle.

Each of them is a table of 256 x 256 probabilities: of every output byte for every input byte, truncation
included. Walker's alias method draws from it with one 32-bit word a value, exactly to 2^-24 (Walker 1977, "An
efficient method for generating discrete random variables with general distributions").
"""

from __future__ import annotations

import functools

import numpy as np
from numpy.typing import NDArray
from scipy.special import ndtr, pdtr

from seedzoo.stress.corruptions.imagenet_c.common import published_corruption
from seedzoo.stress.corruptions.images import Images
from seedzoo.stress.draws import Draws

__all__ = ["gaussian_noise", "impulse_noise", "shot_noise", "speckle_noise"]

Probabilities = NDArray[np.float64]
_LEVELS = np.arange(256)
# Values at a time: the temporary arrays of a block stay in the processor's cache.
_BLOCK = 1 << 14


@published_corruption
def gaussian_noise(images: Images, draws: Draws, *, sd: float) -> Images:
    """X + N(0, sd), x in 0..1.

    Args:
        images: uint8 [n, height, width, channels].
        draws: The examples' random streams.
        sd: Standard deviation as a share of full brightness.
    """
    return _through(images, draws, _gaussian_table(sd))


@published_corruption
def shot_noise(images: Images, draws: Draws, *, photons: float) -> Images:
    """Poisson(x photons) / photons, x in 0..1.

    Args:
        images: uint8 [n, height, width, channels].
        draws: The examples' random streams.
        photons: Expected count at full brightness.
    """
    return _through(images, draws, _shot_table(photons))


@published_corruption
def impulse_noise(images: Images, draws: Draws, *, share: float) -> Images:
    """Salt and pepper: a share of the values is set to 0 or 255, each with equal chance.

    Args:
        images: uint8 [n, height, width, channels].
        draws: The examples' random streams.
        share: Expected share of the values that are hit.
    """
    return _through(images, draws, _impulse_table(share))


@published_corruption
def speckle_noise(images: Images, draws: Draws, *, sd: float) -> Images:
    """X + x N(0, sd), x in 0..1.

    Args:
        images: uint8 [n, height, width, channels].
        draws: The examples' random streams.
        sd: Standard deviation of the factor.
    """
    return _through(images, draws, _speckle_table(sd))


def _through(images: Images, draws: Draws, table: NDArray[np.uint32]) -> Images:
    """Draw an output byte for every value; see `_alias_table`."""
    result = np.empty_like(images)
    word_rows = draws.words(np.uint32, images[0].size) if len(images) else np.empty((0, 0), np.uint32)
    for image, words, out in zip(images, word_rows, result, strict=True):
        values, drawn = np.ascontiguousarray(image).reshape(-1), out.reshape(-1)
        for start in range(0, values.size, _BLOCK):
            block = slice(start, start + _BLOCK)
            word = words[block]
            first = word & np.uint32(255)
            place = values[block].astype(np.intp)
            place <<= 8
            place += first
            entry = table[place]
            keep = np.negative(((word | np.uint32(255)) < entry).view(np.uint8))
            alias = entry.astype(np.uint8)
            # Without a branch: half of the branches of np.where would be predicted wrong.
            drawn[block] = alias ^ ((alias ^ first.astype(np.uint8)) & keep)
    return result


@functools.cache
def _gaussian_table(sd: float) -> NDArray[np.uint32]:
    return _alias_table(_truncated_normal(_LEVELS / 255, np.full(256, sd)))


@functools.cache
def _speckle_table(sd: float) -> NDArray[np.uint32]:
    # Black stays black: there the standard deviation is 0, and any small number keeps it below one level.
    return _alias_table(_truncated_normal(_LEVELS / 255, np.maximum(_LEVELS / 255 * sd, 1e-9)))


@functools.cache
def _impulse_table(share: float) -> NDArray[np.uint32]:
    probabilities = np.diag(np.full(256, 1 - share))
    probabilities[:, [0, 255]] += share / 2
    return _alias_table(probabilities)


@functools.cache
def _shot_table(photons: float) -> NDArray[np.uint32]:
    counts = np.arange(int(np.ceil(photons)))
    rate = _LEVELS[:, None] / 255 * photons
    at_most = pdtr(counts, rate)
    chance = np.diff(at_most, axis=1, prepend=0)
    byte = (counts * 255 / photons + 1e-9).astype(np.int64)
    probabilities = np.zeros((256, 256))
    np.add.at(probabilities.T, byte, chance.T)
    probabilities[:, 255] += 1 - at_most[:, -1]
    return _alias_table(probabilities)


def _truncated_normal(mean: Probabilities, sd: Probabilities) -> Probabilities:
    """P(output byte | input byte) of a normal number on the scale 0..1, clipped, times 255, truncated."""
    # 1e-12: a value without noise is not cut off to the byte below by the rounding of v / 255.
    edges = np.arange(1, 256) / 255 - 1e-12
    below = ndtr((edges - mean[:, None]) / sd[:, None])
    return np.diff(below, axis=1, prepend=0, append=1)


def _alias_table(probabilities: Probabilities) -> NDArray[np.uint32]:
    """The alias table of each row of probabilities, uint32 [256 * 256].

    Entry 256 v + k: the lowest 8 bits are column k's alias in row v, the others the chance of keeping k.
    """
    share = probabilities / probabilities.sum(axis=1, keepdims=True) * 256
    rows, count = np.arange(len(share)), 256
    keep = np.ones_like(share)
    alias = np.broadcast_to(np.arange(count), share.shape).copy()
    # One sweep over each row's columns (Huebschle-Schneider & Sanders 2022, "Parallel weighted random sampling"): the
    # poor ones are filled up from the rich one at hand; a rich one that has become poor is filled up from the next.
    order = np.argsort(share > 1, axis=1, kind="stable")
    poor, rich = np.zeros_like(rows), np.minimum((share <= 1).sum(axis=1), count - 1)
    first_rich, rest = rich.copy(), share[rows, order[rows, rich]]
    for _ in range(count):
        last = rich == count - 1
        fill = ((rest > 1) | last) & (poor < first_rich)
        filled, giver = order[rows, np.minimum(poor, count - 1)], order[rows, rich]
        follower = order[rows, np.minimum(rich + 1, count - 1)]
        closes = ~fill & ~last & (rest <= 1)
        column = np.where(fill, filled, giver)
        part = np.where(fill, share[rows, filled], rest)
        done = fill | closes
        keep[rows[done], column[done]] = part[done]
        alias[rows[done], column[done]] = np.where(fill, giver, follower)[done]
        rest = np.where(fill, rest - (1 - part), np.where(closes, share[rows, follower] - (1 - rest), rest))
        poor += fill
        rich += closes
    threshold = np.minimum(np.rint(keep * 2**24), 2**24 - 1).astype(np.uint32)
    table: NDArray[np.uint32] = ((threshold << np.uint32(8)) | alias.astype(np.uint32)).ravel()
    return table
