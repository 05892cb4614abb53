"""Weather: snow and fog. Frost has its own module."""

from __future__ import annotations

import numpy as np

from seedzoo.stress.corruptions.imagenet_c.blur import enlarging, motion_kernel
from seedzoo.stress.corruptions.imagenet_c.common import (
    correlated,
    luminance,
    padded_planes,
    published_corruption,
)
from seedzoo.stress.corruptions.images import Floats, Images
from seedzoo.stress.draws import Draws

__all__ = ["fog", "plasma", "snow"]


@published_corruption
def snow(
    images: Images,
    draws: Draws,
    *,
    mean: float,
    sd: float,
    zoom: float,
    threshold: float,
    radius: int,
    sigma: float,
    kept: float,
) -> Floats:
    """Whiten the image and add flakes: enlarged noise above a threshold, smeared downwards, added in two layers.

    Args:
        images: uint8 [n, height, width, channels].
        draws: The examples' random streams.
        mean: Of the noise, as a share of full brightness.
        sd: Standard deviation of the noise.
        zoom: By which it is enlarged.
        threshold: Noise below it is no flake.
        radius: Half the length of the smear in pixels.
        sigma: Standard deviation of the smear's weights in pixels.
        kept: Share of the image that is not whitened.
    """
    rows, columns = (enlarging(size, zoom) for size in images.shape[1:3])
    noise = draws.coarse_normal(rows.shape[1], columns.shape[1])
    noise *= np.float32(sd)
    noise += np.float32(mean)
    angles = -135 + 90 * draws.uniform()
    result = np.empty(images.shape, dtype=np.float32)
    across = np.ascontiguousarray(columns.T)
    for image, small, angle, out in zip(images, noise, angles.tolist(), result, strict=True):
        layer = rows @ small @ across
        layer[layer < np.float32(threshold)] = 0
        np.clip(layer, 0, 1, out=layer)
        layer *= 255
        kernel, padding = motion_kernel(radius, sigma, angle)
        # Whole levels, as the original's layer is an 8-bit picture.
        flakes = np.rint(correlated(padded_planes(layer[..., None], padding, "edge"), kernel)[0])
        flakes += np.rot90(flakes, 2).copy()
        white = luminance(image)
        white *= np.float32(1.5)
        white += np.float32(127.5)
        np.maximum(image, white, out=out)
        np.multiply(out, np.float32(1 - kept), out=out)
        np.add(out, image * np.float32(kept), out=out)
        np.add(out, flakes[..., None], out=out)
    return result


@published_corruption
def fog(images: Images, draws: Draws, *, amount: float, decay: float) -> Floats:
    """Add a cloud and scale back so that the brightest value stays: (x + amount cloud) max / (max + amount).

    Args:
        images: uint8 [n, height, width, channels].
        draws: The examples' random streams.
        amount: Of fog, as a multiple of full brightness.
        decay: How much smoother than its size a detail of the cloud is; see `plasma`.
    """
    height, width, channels = images.shape[1:]
    clouds = plasma(draws, 1 << (max(height, width, channels) - 1).bit_length(), decay)[:, :height, :width, None]
    result = np.empty(images.shape, dtype=np.float32)
    for image, cloud, out in zip(images, clouds, result, strict=True):
        most = int(image.max()) / 255
        scale = most / (most + amount)
        thick = np.repeat(cloud * np.float32(255 * amount * scale), channels, axis=2)
        np.multiply(image, np.float32(scale), out=out)
        np.add(out, thick, out=out)
    return result


def plasma(draws: Draws, size: int, decay: float) -> Floats:
    """Plasma fractals: height maps by the diamond-square algorithm (Fournier, Fussell & Carpenter 1982).

    On a torus, as in the original: starting from one point, the middle of every square and then of every diamond
    becomes the mean of its four neighbours plus a uniform number, and the grid is halved. The uniform number's
    bound starts at 100 squared and shrinks by decay squared a step.

    Args:
        draws: The examples' random streams.
        size: Side in pixels, a power of two.
        decay: What divides the square root of the bound in each step.

    Returns:
        float32 [n, size, size], stretched to 0..1.
    """
    noise = draws.coarse_uniform(size * size)
    noise *= 2
    noise -= 1
    heights = np.zeros((len(noise), size, size), dtype=np.float32)
    wibble, used, step = 100.0, 0, size
    while step >= 2:
        half, cells = step // 2, size // step

        def moved(four: Floats, bound: float = wibble * wibble, cells: int = cells) -> Floats:
            nonlocal used
            part = noise[:, used : used + cells * cells].reshape(-1, cells, cells)
            used += cells * cells
            four *= np.float32(0.25)
            four += part * np.float32(bound)
            return four

        corner = heights[:, ::step, ::step]
        square = corner + np.roll(corner, -1, axis=1)
        square += np.roll(square, -1, axis=2)
        middle = moved(square)
        heights[:, half::step, half::step] = middle
        heights[:, ::step, half::step] = moved(
            middle + np.roll(middle, 1, axis=1) + corner + np.roll(corner, -1, axis=2)
        )
        heights[:, half::step, ::step] = moved(
            middle + np.roll(middle, 1, axis=2) + corner + np.roll(corner, -1, axis=1)
        )
        step = half
        wibble /= decay
    heights -= heights.min(axis=(1, 2), keepdims=True)
    heights /= heights.max(axis=(1, 2), keepdims=True)
    return heights
