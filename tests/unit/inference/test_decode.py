"""Images to tensors: formats, colours, sizes, and every way a file can be bad."""

from __future__ import annotations

import contextlib
import io

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image
from tests.support import example_files, png

from seedzoo.errors import DataError
from seedzoo.inference.decode import decode_image
from seedzoo.records import Preprocessing

GREY = Preprocessing(28, 28, 1)
COLOUR = Preprocessing(32, 24, 3)


def encoded(image: Image.Image, kind: str, **options: object) -> bytes:
    buffer = io.BytesIO()
    image.save(buffer, format=kind, **options)
    return buffer.getvalue()


def test_png_of_the_right_size_comes_through_unchanged() -> None:
    pixels = np.random.default_rng(0).integers(0, 256, (28, 28), dtype=np.uint8)
    decoded = decode_image(png(pixels), GREY)
    assert np.array_equal(decoded.pixels[..., 0], pixels)
    assert (decoded.colour_change, decoded.resized_from) == ("", None)


@pytest.mark.parametrize("kind", ["PNG", "JPEG", "WEBP", "BMP", "GIF", "TIFF", "PPM"])
def test_formats(kind: str) -> None:
    gradient = np.tile(np.arange(28, dtype=np.uint8) * 9, (28, 1))
    decoded = decode_image(encoded(Image.fromarray(gradient), kind), GREY)
    assert np.abs(decoded.pixels[..., 0].astype(int) - gradient).max() < 12


def test_colour_grey_and_size_changes_are_reported() -> None:
    colour = Image.new("RGB", (56, 40), (200, 100, 0))
    decoded = decode_image(encoded(colour, "PNG"), GREY)
    assert decoded.colour_change == "colour to grey"
    assert decoded.resized_from == (56, 40)
    # ITU-R 601-2 luma, as Pillow documents it.
    assert decoded.pixels[0, 0, 0] == round(200 * 0.299 + 100 * 0.587)
    grey = decode_image(encoded(Image.new("L", (24, 32), 77), "PNG"), COLOUR)
    assert grey.colour_change == "grey to colour"
    assert (grey.pixels == 77).all()
    assert grey.pixels.shape == (32, 24, 3)


def test_palette_alpha_16_bit_and_bilevel() -> None:
    for mode in ("P", "RGBA", "LA", "1", "CMYK"):
        assert decode_image(encoded(Image.new(mode, (28, 28)), "TIFF" if mode == "CMYK" else "PNG"), GREY)
    deep = np.full((28, 28), 0x8040, dtype=np.uint16)
    assert (decode_image(encoded(Image.fromarray(deep), "PNG"), GREY).pixels == 0x80).all()
    with pytest.raises(DataError, match="no defined range"):
        decode_image(encoded(Image.new("F", (28, 28)), "TIFF"), GREY)


def test_exif_orientation_is_followed() -> None:
    pixels = np.zeros((28, 28), dtype=np.uint8)
    pixels[:14] = 255
    exif = Image.Exif()
    exif[0x0112] = 3  # upside down
    turned = decode_image(encoded(Image.fromarray(pixels), "PNG", exif=exif), GREY)
    assert np.array_equal(turned.pixels[..., 0], pixels[::-1])


def test_centre_crop() -> None:
    wide = np.zeros((28, 84), dtype=np.uint8)
    wide[:, 28:56] = 200
    cropped = decode_image(png(wide), Preprocessing(28, 28, 1, resize="shorter_side_center_crop"))
    assert (cropped.pixels == 200).all()


def test_bad_files_say_what_is_wrong() -> None:
    whole = encoded(Image.fromarray(np.random.default_rng(0).integers(0, 256, (64, 64, 3), dtype=np.uint8)), "JPEG")
    with pytest.raises(DataError, match="empty"):
        decode_image(b"", GREY)
    with pytest.raises(DataError, match="not an image"):
        decode_image(b"<html>404</html>", GREY)
    with pytest.raises(DataError, match="damaged or cut off"):
        decode_image(whole[: len(whole) // 2], GREY)
    with pytest.raises(DataError, match="pixels"):
        decode_image(encoded(Image.new("1", (20_000, 20_000)), "PNG"), GREY)
    with pytest.raises(DataError, match="not an image"):  # would start another program
        decode_image(b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 9 9\n", GREY)


@given(st.data())
def test_any_damage_decodes_or_is_a_data_error(data: st.DataObject) -> None:
    path, _ = example_files(per_class=1)[0]
    raw = bytearray(path.read_bytes())
    for _ in range(data.draw(st.integers(1, 4))):
        raw[data.draw(st.integers(0, len(raw) - 1))] = data.draw(st.integers(0, 255))
    cut = data.draw(st.integers(0, len(raw)))
    with contextlib.suppress(DataError):
        assert decode_image(bytes(raw[:cut]), GREY).pixels.shape == (28, 28, 1)
