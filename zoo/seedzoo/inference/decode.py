"""An image file's bytes to the uint8 array that a task's models take."""

from __future__ import annotations

import io
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageOps, UnidentifiedImageError

from seedzoo.errors import DataError
from seedzoo.records import Preprocessing

__all__ = ["DEFAULT_MAX_PIXELS", "FORMATS", "DecodedImage", "decode_image"]

DEFAULT_MAX_PIXELS = 50_000_000
"""More than any camera's frame in common use; a decoded RGB image of it takes 150 MB."""

FORMATS = ("PNG", "JPEG", "WEBP", "BMP", "GIF", "TIFF", "PPM", "JPEG2000", "TGA")
"""What may be decoded. Formats that start other programs (EPS) or are no pictures are left out."""

_INTERPOLATION = {
    "bilinear": Image.Resampling.BILINEAR,
    "bicubic": Image.Resampling.BICUBIC,
    "nearest": Image.Resampling.NEAREST,
}


@dataclass(frozen=True, slots=True)
class DecodedImage:
    """A decoded image and what had to be done to it.

    Attributes:
        pixels: uint8 ``[height, width, channels]`` as the task wants.
        colour_change: ``grey to colour``, ``colour to grey`` or empty.
        resized_from: (width, height) of the file where it was resized, else None.
    """

    pixels: NDArray[np.uint8]
    colour_change: str
    resized_from: tuple[int, int] | None


def decode_image(raw: bytes, preprocessing: Preprocessing, *, max_pixels: int = DEFAULT_MAX_PIXELS) -> DecodedImage:
    """Decode, turn upright as EXIF says, convert to the task's channels and resize.

    The first frame of an animation counts; transparency is dropped as ``Image.convert`` does; 16-bit grey is
    scaled to 8 bit.

    Raises:
        DataError: Not an image of a known format, cut off, or of more than ``max_pixels`` pixels (refused before
            decoding).
    """
    if not raw:
        raise DataError("the file is empty", reason="IMAGE_EMPTY")
    try:
        with Image.open(io.BytesIO(raw), formats=FORMATS) as image:
            if image.width * image.height > max_pixels:
                raise _too_large(f"{image.width} x {image.height}", max_pixels)
            size = image.size
            image.load()
            return _prepared(ImageOps.exif_transpose(image), size, preprocessing)
    except UnidentifiedImageError as error:
        raise DataError("not an image of a known format", reason="IMAGE_UNKNOWN") from error
    except (Image.DecompressionBombError, Image.DecompressionBombWarning) as error:
        raise _too_large("it", max_pixels) from error
    except (OSError, SyntaxError, ValueError, EOFError, IndexError, KeyError, TypeError, MemoryError) as error:
        # Pillow's decoders report malformed files through all of these.
        raise DataError(f"damaged or cut off: {error}", reason="IMAGE_DAMAGED") from error


def _too_large(size: str, max_pixels: int) -> DataError:
    return DataError(
        f"{size} has more than {max_pixels:,} pixels", hint="Scale it down first.", reason="IMAGE_TOO_LARGE"
    )


def _prepared(image: Image.Image, size: tuple[int, int], preprocessing: Preprocessing) -> DecodedImage:
    if image.mode.startswith("I;16"):
        image = Image.fromarray((np.asarray(image, dtype=np.uint16) >> 8).astype(np.uint8))
    elif image.mode in ("I", "F"):
        raise DataError(f"pixels of mode {image.mode} have no defined range", reason="IMAGE_MODE")
    grey = image.mode in ("1", "L", "LA", "La")
    wanted = "L" if preprocessing.channels == 1 else "RGB"
    change = "grey to colour" if grey and wanted == "RGB" else "colour to grey" if not grey and wanted == "L" else ""
    converted = image.convert(wanted)
    target = (preprocessing.width, preprocessing.height)
    resized = _resized(converted, target, preprocessing)
    pixels = np.asarray(resized, dtype=np.uint8).reshape(target[1], target[0], preprocessing.channels)
    return DecodedImage(pixels=pixels, colour_change=change, resized_from=None if converted.size == target else size)


def _resized(image: Image.Image, target: tuple[int, int], preprocessing: Preprocessing) -> Image.Image:
    if image.size == target:
        return image
    method = _INTERPOLATION[preprocessing.interpolation]
    if preprocessing.resize == "stretch":
        return image.resize(target, method)
    return ImageOps.fit(image, target, method)
