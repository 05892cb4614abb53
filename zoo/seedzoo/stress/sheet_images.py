"""Images for a contact sheet where there is no family to say how they look: from any folder, or the bundled ones."""

from __future__ import annotations

from importlib import resources
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from seedzoo.errors import DataError
from seedzoo.inference.decode import DecodedImage, decode_image
from seedzoo.records import Preprocessing

__all__ = ["bundled_images", "folder_images"]

_COUNT = 10
_ENDINGS = frozenset({".bmp", ".gif", ".jpeg", ".jpg", ".png", ".ppm", ".tif", ".tiff", ".webp"})
_SMALLEST, _LARGEST = 8, 224


def bundled_images() -> NDArray[np.uint8]:
    """Ten images of Fashion-MNIST, one per class: uint8 ``[10, 28, 28, 1]``."""
    strip = (resources.files("seedzoo.stress") / "examples.png").read_bytes()
    pixels = decode_image(strip, Preprocessing(height=28, width=28 * _COUNT, channels=1)).pixels
    return np.stack(np.split(pixels, _COUNT, axis=1))


def folder_images(folder: Path, preprocessing: Preprocessing | None = None) -> NDArray[np.uint8]:
    """Ten images from below a folder, evenly spread over their sorted paths.

    Args:
        folder: Searched at any depth.
        preprocessing: How they become arrays; in colour at 224 x 224 (enlarging none) when omitted.

    Returns:
        uint8 ``[k, height, width, channels]``, k up to 10.

    Raises:
        DataError: There is no image, or one cannot be read.
    """
    try:
        paths = sorted(path for path in folder.rglob("*") if path.suffix.lower() in _ENDINGS and path.is_file())
    except OSError as error:
        raise DataError(f"cannot read {folder}: {error.strerror or error}", reason="ITEM_UNREADABLE") from error
    if not paths:
        raise DataError(
            f"there are no images below {folder}", hint=f"Endings that count: {', '.join(sorted(_ENDINGS))}."
        )
    chosen = [paths[at] for at in np.unique(np.linspace(0, len(paths) - 1, _COUNT).round().astype(int)).tolist()]
    raws = [_raw(path) for path in chosen]
    shape = preprocessing or _shape(raws[0], chosen[0])
    return np.stack([_decoded(raw, path, shape) for raw, path in zip(raws, chosen, strict=True)])


def _raw(path: Path) -> bytes:
    try:
        return path.read_bytes()
    except OSError as error:
        raise DataError(f"cannot read {path}: {error.strerror or error}", reason="ITEM_UNREADABLE") from error


def _shape(raw: bytes, path: Path) -> Preprocessing:
    """A square of the first image's shorter side, within bounds."""
    # Decoding to one pixel costs as much as any size, and tells the file's own.
    found = _decode(raw, path, Preprocessing(height=1, width=1, channels=3)).resized_from or (1, 1)
    side = int(np.clip(min(found), _SMALLEST, _LARGEST))
    return Preprocessing(height=side, width=side, channels=3, resize="shorter_side_center_crop")


def _decoded(raw: bytes, path: Path, shape: Preprocessing) -> NDArray[np.uint8]:
    return _decode(raw, path, shape).pixels


def _decode(raw: bytes, path: Path, shape: Preprocessing) -> DecodedImage:
    try:
        return decode_image(raw, shape)
    except DataError as error:
        raise DataError(f"{path}: {error.message}", hint=error.hint, reason=error.reason) from error
