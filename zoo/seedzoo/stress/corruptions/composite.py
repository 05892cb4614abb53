"""Several changes at once, as they come in the field: a picture taken with a phone."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from seedzoo.stress.condition import Kind
from seedzoo.stress.corruptions.blur import blurred
from seedzoo.stress.corruptions.compression import jpeg_round_trip
from seedzoo.stress.corruptions.geometric import moved
from seedzoo.stress.corruptions.images import Floats, Images, as_uint8, image_corruption, shorter_side
from seedzoo.stress.draws import Draws

__all__ = ["KINDS", "phone_photo"]


@image_corruption
def phone_photo(
    images: Images,
    draws: Draws,
    *,
    degrees: float,
    shift: float,
    haze: float,
    shade: float,
    blur: float,
    noise: float,
    quality: int,
) -> Images:
    """Turn and shift a little, light unevenly, blur, add noise and compress as JPEG, in this order.

    Args:
        images: uint8 [n, height, width, channels].
        draws: The examples' random streams.
        degrees: Largest angle; each example's is uniform up to it, either way.
        shift: Largest shift along each axis as a share of the shorter side.
        haze: Stray light, the brightness of black as a share of full brightness.
        shade: Share of the light that is missing on the darkest side.
        blur: Standard deviation of the blur as a share of the shorter side.
        noise: Standard deviation of the noise as a share of full brightness.
        quality: Pillow's JPEG quality.
    """
    side = shorter_side(images)
    turn, down, right = np.moveaxis(2 * draws.uniform(3) - 1, 1, 0)
    held = moved(images, angles=np.deg2rad(degrees) * turn, down=shift * side * down, right=shift * side * right)
    lit = (held * np.float32(1 - haze) + np.float32(255 * haze)) * _light(draws, images.shape, shade)
    noisy = blurred(lit, blur * side) + 255 * noise * draws.normal(*images.shape[1:])
    return jpeg_round_trip(as_uint8(noisy), quality)


def _light(draws: Draws, shape: tuple[int, ...], shade: float) -> Floats:
    """Light that falls off evenly in a random direction, from 1 to 1 - shade; [n, height, width, 1]."""
    direction = 2 * np.pi * draws.uniform()[:, None, None]
    y, x = _centred(shape[1])[:, None], _centred(shape[2])[None, :]
    slope = (y * np.sin(direction) + x * np.cos(direction)) / np.sqrt(2)
    light: NDArray[np.float64] = 1 - shade * (0.5 + 0.5 * slope)
    return light.astype(np.float32)[..., None]


def _centred(size: int) -> NDArray[np.float64]:
    return (2 * np.arange(size) + 1) / size - 1


def _level(degrees: float, **others: float) -> dict[str, float]:
    return {"degrees": degrees, **others}


KINDS = (
    Kind(
        name="phone-photo",
        function=phone_photo,
        description="As taken with a phone: tilted, unevenly lit, blurred, noisy, compressed",
        levels=(  # own choice
            _level(5, shift=0.03, haze=0.06, shade=0.25, blur=0.015, noise=0.02, quality=60),
            _level(10, shift=0.06, haze=0.15, shade=0.4, blur=0.022, noise=0.04, quality=45),
            _level(15, shift=0.09, haze=0.25, shade=0.55, blur=0.03, noise=0.065, quality=30),
        ),
    ),
)
