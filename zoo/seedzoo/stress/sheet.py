"""A contact sheet: one row of images per condition, for people to look at."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from PIL import Image, ImageDraw, ImageFont

from seedzoo.errors import DataError
from seedzoo.stress.condition import Condition
from seedzoo.stress.corruptions.images import Images

__all__ = ["contact_sheet"]

_PER_ROW = 10
_CELL = 56  # pixels: enough to see a 28 x 28 image's blocks, and 50 rows still fit a screen when scrolled
_LARGEST = 224  # pixels: larger images are shrunk, after the change
_GAP = 4
_TEXT = 14
_PAPER, _INK = (255, 255, 255), (20, 20, 20)


def contact_sheet(examples: Images, conditions: Sequence[Condition]) -> Image.Image:
    """Draw the first ten examples under each condition, with the condition's name beside them.

    Args:
        examples: uint8 [n, height, width, 1 or 3]; small ones are enlarged by a whole factor, and ones
            above 224 px shrunk.
        conditions: One row each, in this order; at least one.

    Returns:
        An RGB picture.

    Raises:
        DataError: There is no example or no condition, or the examples are not such images.
    """
    shown = examples[:_PER_ROW]
    if not len(shown) or not conditions:
        raise DataError("a contact sheet needs at least one example and one condition")
    indices = np.arange(len(shown))
    rows = [condition.apply(shown, indices) for condition in conditions]
    factor = max(1, _CELL // max(shown.shape[1:3]))
    shrink = min(1.0, _LARGEST / max(shown.shape[1:3]))
    height, width = (max(1, round(side * factor * shrink)) for side in shown.shape[1:3])
    high, wide = height + _GAP, width + _GAP

    font = ImageFont.load_default(_TEXT)
    label = _GAP * 2 + max(int(font.getlength(condition.name)) for condition in conditions)
    sheet = Image.new("RGB", (label + len(shown) * wide, _GAP + len(rows) * high), _PAPER)
    pen = ImageDraw.Draw(sheet)
    for number, (condition, images) in enumerate(zip(conditions, rows, strict=True)):
        top = _GAP + number * high
        pen.text((_GAP, top + (high - _GAP) // 2), condition.name, fill=_INK, font=font, anchor="lm")
        for column, image in enumerate(images):
            colour = np.broadcast_to(image, (*image.shape[:2], 3))
            enlarged = np.ascontiguousarray(colour.repeat(factor, axis=0).repeat(factor, axis=1))
            picture = Image.fromarray(enlarged)
            if shrink < 1:
                picture = picture.resize((width, height), Image.Resampling.BOX)
            sheet.paste(picture, (label + column * wide, top))
    return sheet
