"""The contact sheet shows the pixels it should."""

from __future__ import annotations

import numpy as np
import pytest

from seedzoo.errors import DataError
from seedzoo.stress import contact_sheet, get_condition, suite


def test_rows_hold_the_changed_images(images):
    shown = [get_condition("id"), get_condition("inversion")]
    sheet = np.asarray(contact_sheet(images, shown))
    assert sheet.shape[0] == 4 + 2 * 60
    first, second = (sheet[4 + 60 * row : 60 + 60 * row, -600 : -600 + 56] for row in (0, 1))
    np.testing.assert_array_equal(first[::2, ::2, 0], images[0, ..., 0])
    np.testing.assert_array_equal(second[1::2, 1::2, 2], 255 - images[0, ..., 0])


def test_names_are_written(images):
    sheet = np.asarray(contact_sheet(images[:1], [get_condition("id")]))
    assert (sheet[:, : sheet.shape[1] - 60] < 128).any()


def test_colour_and_the_whole_suite(shaped):
    sheet = contact_sheet(shaped, suite("small-images"))
    assert sheet.mode == "RGB"


def test_large_images_are_shrunk():
    white = np.full((2, 300, 450, 3), 255, np.uint8)
    sheet = contact_sheet(white, [get_condition("id"), get_condition("imagenet-c-contrast-1")])
    assert sheet.height == 4 + 2 * (149 + 4)


def test_the_published_suites(images):
    for name in ("imagenet-c", "imagenet-c-extra", "cifar-c"):
        sheet = contact_sheet(images[:2], suite(name))
        assert sheet.height == 4 + 60 * len(suite(name))


def test_nothing_to_show(images):
    with pytest.raises(DataError, match="at least one"):
        contact_sheet(images[:0], [get_condition("id")])
    with pytest.raises(DataError, match="at least one"):
        contact_sheet(images, [])
