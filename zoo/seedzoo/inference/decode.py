"""An image file's bytes to the uint8 array that a task's models take."""

from __future__ import annotations

import io
from collections.abc import Callable
from dataclasses import dataclass
from typing import TypeVar

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageOps, UnidentifiedImageError

from seedzoo.errors import DataError
from seedzoo.records import Preprocessing

__all__ = ["DEFAULT_MAX_PIXELS", "FORMATS", "DecodedImage", "decode_image", "decode_upright", "out_of_memory"]

_T = TypeVar("_T")

DEFAULT_MAX_PIXELS = 50_000_000
"""More than any camera's frame in common use; a decoded RGB image of it takes 150 MB."""

FORMATS = ("PNG", "JPEG", "WEBP", "BMP", "GIF", "TIFF", "PPM", "JPEG2000", "TGA")
"""What may be decoded. Formats that start other programs (EPS) or are no pictures are left out."""

_ORIENTATION = 0x0112
_TURNS = {
    2: Image.Transpose.FLIP_LEFT_RIGHT,
    3: Image.Transpose.ROTATE_180,
    4: Image.Transpose.FLIP_TOP_BOTTOM,
    5: Image.Transpose.TRANSPOSE,
    6: Image.Transpose.ROTATE_270,
    7: Image.Transpose.TRANSVERSE,
    8: Image.Transpose.ROTATE_90,
}
_START_OF_SCAN, _MOST_SCANS = b"\xff\xda", 100
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


def decode_image(
    raw: bytes, preprocessing: Preprocessing, *, max_pixels: int = DEFAULT_MAX_PIXELS, border: int = 0
) -> DecodedImage:
    """Decode, turn upright as EXIF says, convert to the task's channels and resize.

    The first frame of an animation counts; transparency is dropped as ``Image.convert`` does; 16-bit grey is
    scaled to 8 bit; ``border`` pixels are cut off every side before resizing.

    Raises:
        DataError: Not an image of a known format, cut off, or of more than ``max_pixels`` pixels (refused before
            decoding).
    """
    return _decoded(raw, max_pixels, border, lambda image, size: _prepared(image, size, preprocessing))


def decode_upright(raw: bytes, *, channels: int, max_pixels: int = DEFAULT_MAX_PIXELS, border: int = 0) -> Image.Image:
    """As :func:`decode_image`, but of the size that the file has: what random crops are taken from.

    Returns:
        An image of mode L (``channels`` 1) or RGB.

    Raises:
        DataError: See :func:`decode_image`.
    """
    return _decoded(raw, max_pixels, border, lambda image, _: _converted(image, channels))


def _decoded(raw: bytes, max_pixels: int, border: int, finish: Callable[[Image.Image, tuple[int, int]], _T]) -> _T:
    if not raw:
        raise DataError("the file is empty", reason="IMAGE_EMPTY")
    try:
        with Image.open(io.BytesIO(raw), formats=FORMATS) as image:
            if image.width * image.height > max_pixels:
                raise _too_large(f"{image.width} x {image.height}", max_pixels)
            _check_scans(image, raw)
            size = image.size
            image.load()
            upright = _upright(image)
            if border:
                if min(upright.size) <= 2 * border:
                    raise DataError(f"{size[0]} x {size[1]} pixels are all border", reason="IMAGE_TOO_SMALL")
                upright = upright.crop((border, border, upright.width - border, upright.height - border))
            return finish(upright, size)
    except UnidentifiedImageError as error:
        raise DataError("not an image of a known format", reason="IMAGE_UNKNOWN") from error
    except (Image.DecompressionBombError, Image.DecompressionBombWarning) as error:
        raise _too_large("it", max_pixels) from error
    except (MemoryError, SystemError) as error:  # the second where Pillow's C code fails to say the first
        raise out_of_memory() from error
    except (OSError, SyntaxError, ValueError, EOFError, IndexError, KeyError, TypeError) as error:
        # Pillow's decoders report malformed files through all of these.
        raise DataError(f"damaged or cut off: {error}", reason="IMAGE_DAMAGED") from error


def out_of_memory() -> DataError:
    """What is wrong with an image whose decoder got no more memory: it is damaged, or a bomb."""
    return DataError("damaged, or takes more memory than one image gets", reason="IMAGE_DAMAGED")


def _check_scans(image: Image.Image, raw: bytes) -> None:
    """Refuse a JPEG of very many scans: each of some bytes may cost as much time as the whole picture."""
    is_jpeg = image.format in ("JPEG", "MPO") or image.info.get("compression") == "jpeg"
    if is_jpeg and raw.count(_START_OF_SCAN) > _MOST_SCANS:
        raise DataError(f"a JPEG of more than {_MOST_SCANS} scans", hint="Save it again.", reason="IMAGE_DAMAGED")


def _upright(image: Image.Image) -> Image.Image:
    """Turned as its EXIF says; where that cannot be read, the pixels are as they are stored."""
    try:
        orientation = image.getexif().get(_ORIENTATION)
    except Exception:  # noqa: BLE001  (Pillow's parser lets anything through, and the pixels are fine)
        return image
    turn = _TURNS.get(orientation) if isinstance(orientation, int) else None
    return image if turn is None else image.transpose(turn)


def _too_large(size: str, max_pixels: int) -> DataError:
    return DataError(
        f"{size} has more than {max_pixels:,} pixels", hint="Scale it down first.", reason="IMAGE_TOO_LARGE"
    )


def _converted(image: Image.Image, channels: int) -> Image.Image:
    if image.mode.startswith("I;16"):
        image = Image.fromarray((np.asarray(image, dtype=np.uint16) >> 8).astype(np.uint8))
    elif image.mode in ("I", "F"):
        raise DataError(f"pixels of mode {image.mode} have no defined range", reason="IMAGE_MODE")
    return image.convert("L" if channels == 1 else "RGB")


def _prepared(image: Image.Image, size: tuple[int, int], preprocessing: Preprocessing) -> DecodedImage:
    grey = image.mode in ("1", "L", "LA", "La") or image.mode.startswith("I;16")
    wanted = "L" if preprocessing.channels == 1 else "RGB"
    change = "grey to colour" if grey and wanted == "RGB" else "colour to grey" if not grey and wanted == "L" else ""
    converted = _converted(image, preprocessing.channels)
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
