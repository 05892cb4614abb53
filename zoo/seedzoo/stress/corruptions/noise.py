"""Sensor noise: gaussian, shot, impulse."""

from __future__ import annotations

import functools

import numpy as np
from numpy.typing import NDArray
from scipy.special import pdtr

from seedzoo.stress.condition import Kind
from seedzoo.stress.corruptions.images import Images, image_corruption
from seedzoo.stress.draws import Draws

__all__ = ["KINDS", "gaussian_noise", "impulse_noise", "shot_noise"]


@image_corruption
def gaussian_noise(images: Images, draws: Draws, *, sd: float) -> NDArray[np.float64]:
    """Add independent normal noise to every pixel and channel.

    Args:
        images: uint8 [n, height, width, channels].
        draws: The examples' random streams.
        sd: Standard deviation as a share of full brightness.
    """
    return images + 255 * sd * draws.normal(*images.shape[1:])


@image_corruption
def shot_noise(images: Images, draws: Draws, *, photons: float) -> NDArray[np.float64]:
    """Replace every pixel by a Poisson count around its brightness: a picture taken in little light.

    Args:
        images: uint8 [n, height, width, channels].
        draws: The examples' random streams.
        photons: Expected count at full brightness; fewer mean more noise.
    """
    table, most = _poisson_table(photons)
    # Row v of the table is shifted up by v, so one ascending search inverts all 256 distributions at once.
    found = np.searchsorted(table, images + draws.uniform(*images.shape[1:]))
    counts = found - images.astype(np.int64) * most
    return counts.astype(np.float64) * (255 / photons)


@functools.cache
def _poisson_table(photons: float) -> tuple[NDArray[np.float64], int]:
    """P(count <= k) + v for pixel values v = 0..255 and k = 0..most - 1, flattened; and `most`."""
    most = int(photons + 10 * photons**0.5 + 20)
    rate = np.arange(256)[:, None] / 255 * photons
    table: NDArray[np.float64] = np.minimum(pdtr(np.arange(most), rate), 1.0)
    table[:, -1] = 1.0  # so that no search runs over into the next pixel value's row
    return (table + np.arange(256.0)[:, None]).ravel(), most


@image_corruption
def impulse_noise(images: Images, draws: Draws, *, share: float) -> Images:
    """Set a share of the values to black or white ("salt and pepper"), each with equal chance.

    Args:
        images: uint8 [n, height, width, channels].
        draws: The examples' random streams.
        share: Expected share of the values that are hit.
    """
    chance = draws.uniform(*images.shape[1:])
    noisy = np.where(chance < share / 2, np.uint8(0), images)
    return np.where(chance > 1 - share / 2, np.uint8(255), noisy)


# ImageNet-C's severities 1, 3 and 5, which MNIST-C uses unchanged.
KINDS = (
    Kind(
        name="gaussian-noise",
        function=gaussian_noise,
        description="With independent noise on every pixel",
        levels=({"sd": 0.08}, {"sd": 0.18}, {"sd": 0.38}),
    ),
    Kind(
        name="shot-noise",
        function=shot_noise,
        description="With the noise of few photons",
        levels=({"photons": 60.0}, {"photons": 12.0}, {"photons": 3.0}),
    ),
    Kind(
        name="impulse-noise",
        function=impulse_noise,
        description="With black and white dots",
        levels=({"share": 0.03}, {"share": 0.09}, {"share": 0.27}),
    ),
)
