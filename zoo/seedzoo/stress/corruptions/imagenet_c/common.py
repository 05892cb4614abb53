"""What the published corruptions share: truncation to uint8, grey values, and correlation by FFT.

Every result depends on one image and its draws alone, to the last bit: an FFT runs on the planes of one image at
a time, since its inner loops take several lines at once and may round the last ones of a longer batch otherwise.
"""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import Any, Concatenate, ParamSpec, cast

import numpy as np
from numpy.typing import NDArray
from scipy import fft

from seedzoo.stress.corruptions.images import Floats, Images, check_images
from seedzoo.stress.draws import Draws

__all__ = ["Padding", "correlated", "grey", "luminance", "padded_planes", "published_corruption", "truncated"]

P = ParamSpec("P")
# Pixels before and after, along the height and along the width.
Padding = tuple[tuple[int, int], tuple[int, int]]

# cv2.COLOR_RGB2GRAY: ITU-R BT.601 luma.
_LUMA = (0.299, 0.587, 0.114)
# Keeps a float32 sum that should be whole from falling below its own value when it is cut off.
_ROUNDING = np.float32(2**-7)


def published_corruption(
    function: Callable[Concatenate[Images, Draws, P], NDArray[Any]],
) -> Callable[Concatenate[Images, Draws, P], Images]:
    """Check the images that go in, and turn what comes out, on the scale 0 to 255, into uint8 by truncation.

    The original ends in ``np.uint8(np.clip(x, 0, 1) * 255)``, which cuts off the fraction; rounding would be
    half a level brighter on average. The decorated function raises `DataError` as `image_corruption` does.
    """

    @functools.wraps(function)
    def checked(images: Images, draws: Draws, *args: P.args, **kwargs: P.kwargs) -> Images:
        check_images(images)
        result = function(images, draws, *args, **kwargs)
        return result if result.dtype == np.uint8 else truncated(result)

    return cast("Callable[Concatenate[Images, Draws, P], Images]", checked)


def truncated(values: NDArray[Any]) -> Images:
    """Clip to 0..255 and cut off the fraction; the float32 input is overwritten."""
    np.add(values, _ROUNDING, out=values)
    np.clip(values, 0, 255, out=values)
    return values.astype(np.uint8)


def luminance(image: NDArray[Any]) -> Floats:
    """Grey values, float32 [..., 1], of an image [..., 1 or 3]."""
    if image.shape[-1] == 1:
        return image.astype(np.float32)
    red, green, blue = (image[..., channel] * np.float32(weight) for channel, weight in enumerate(_LUMA))
    red += green
    red += blue
    return red[..., None]


def grey(colour: tuple[float, float, float], channels: int) -> tuple[float, ...]:
    """A colour as it is in a colour image, or its grey value for an image of one channel."""
    return colour if channels == 3 else (sum(part * weight for part, weight in zip(colour, _LUMA, strict=True)),)


def padded_planes(image: NDArray[Any], padding: Padding, mode: Any) -> Floats:
    """One image [height, width, channels] with a border as `numpy.pad` makes it, as float32 planes [c, h, w]."""
    padded = np.pad(image, (*padding, (0, 0)), mode=mode)
    return np.ascontiguousarray(np.moveaxis(padded, 2, 0), dtype=np.float32)


def correlated(padded: Floats, kernel: Floats) -> Floats:
    """Correlate padded planes with a kernel: out[y, x] = sum over i, j of kernel[i, j] padded[y + i, x + j].

    Args:
        padded: float32 [c, height + h - 1, width + w - 1].
        kernel: float32 [h, w].

    Returns:
        float32 [c, height, width].
    """
    high, wide = (size - extent + 1 for size, extent in zip(padded.shape[1:], kernel.shape, strict=True))
    shape = tuple(fft.next_fast_len(size, real=True) for size in padded.shape[1:])
    spectrum = fft.rfft2(padded, shape)
    spectrum *= np.conj(fft.rfft2(kernel, shape))
    result: Floats = fft.irfft2(spectrum, shape, overwrite_x=True)[:, :high, :wide]
    return result
