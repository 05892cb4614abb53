"""The report's drawings: strips, heat maps and scatter plots, as SVG."""

from __future__ import annotations

import base64
import io
import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from seedzoo.report.figures import INK, MARK, RULE, number, ticks
from seedzoo.report.markup import Markup, joined, tag

__all__ = ["Axis", "axis_strip", "colour_bar", "heat_map", "scatter", "strip", "strip_axis"]

_STRIP_WIDTH = 300
_STRIP_HEIGHT = 20
_MOST_TICKS = 120
"""Above so many variants a strip shows quartiles: ticks would run together."""
_MOST_CELLS = 8_000
"""Above so many cells a heat map is a picture: a page of that many rectangles gets slow."""


@dataclass(frozen=True, kw_only=True)
class Axis:
    """A linear axis from ``low`` to ``high`` over ``width`` pixels from ``start`` on."""

    low: float
    high: float
    start: float
    width: float

    def at(self, value: float) -> float:
        """Pixel of a value."""
        return self.start + self.width * (value - self.low) / (self.high - self.low)

    @classmethod
    def around(cls, values: NDArray[np.float64], *, start: float, width: float, margin: float = 0.04) -> Axis:
        """An axis that holds all values (not nan) and a margin on both sides."""
        low, high = float(np.nanmin(values)), float(np.nanmax(values))
        space = margin * (high - low) or 0.005
        return cls(low=low - space, high=high + space, start=start, width=width)


def strip_axis(values: NDArray[np.float64]) -> Axis:
    """The axis that all strips of a table share."""
    return Axis.around(values, start=2, width=_STRIP_WIDTH - 4, margin=0.02)


def axis_strip(axis: Axis) -> Markup:
    """The scale above a column of strips, in percent."""
    marks = []
    for value in ticks(100 * axis.low, 100 * axis.high):
        x = axis.at(value / 100)
        anchor = "start" if x < 12 else "end" if x > _STRIP_WIDTH - 12 else "middle"
        marks.append(tag("line", x1=x, x2=x, y1=15, y2=20, stroke=INK))
        marks.append(tag("text", f"{value:g}", x=x, y=11, text_anchor=anchor, font_size=11, fill=INK))
    return _svg(_STRIP_WIDTH, 20, "scale in percent", *marks, strip=True)


def strip(values: NDArray[np.float64], axis: Axis, *, label: str, reference: float) -> Markup:
    """One condition: a tick for each variant, or quartiles where there are many; a dot at the mean.

    Args:
        values: Accuracies of the variants, nan left out.
        axis: Shared by all strips.
        label: What a screen reader says.
        reference: The in-distribution mean, a thin line through all strips.
    """
    found = values[~np.isnan(values)]
    middle, height = _STRIP_HEIGHT / 2, _STRIP_HEIGHT
    parts = [tag("line", x1=axis.at(reference), x2=axis.at(reference), y1=0, y2=height, stroke=RULE)]
    if len(found) > _MOST_TICKS:
        low, first, median, third, high = (axis.at(v) for v in np.percentile(found, (0, 25, 50, 75, 100)))
        parts += [
            tag("line", x1=low, x2=high, y1=middle, y2=middle, stroke=MARK),
            tag("rect", x=first, y=4, width=max(1.0, third - first), height=height - 8, fill="#9fc1e4", stroke=MARK),
            tag("line", x1=median, x2=median, y1=4, y2=height - 4, stroke=MARK, stroke_width=2),
        ]
    else:
        path = "".join(f"M{axis.at(value):.1f} 3v{height - 6}" for value in found)
        parts.append(tag("path", d=path, stroke=MARK, stroke_opacity=".55", stroke_width=1.2))
    parts.append(tag("circle", cx=axis.at(float(found.mean())), cy=middle, r=2.6, fill="#b4470a", stroke="#fff"))
    return _svg(_STRIP_WIDTH, height, label, *parts, strip=True)


def heat_map(
    values: NDArray[np.float64],
    *,
    rows: Sequence[str],
    columns: Sequence[str],
    paint: Callable[[float], str],
    tell: Callable[[int, int], str],
    marked: NDArray[np.bool_] | None = None,
    label: str,
) -> Markup:
    """A matrix of coloured cells with names on both sides.

    Args:
        values: [R, C] numbers to paint.
        rows: R names; left out where the rows get too thin for them.
        columns: C names.
        paint: Colour of a number.
        tell: What a cell (row, column) says when pointed at.
        marked: Cells with a dot.
        label: What a screen reader says.
    """
    count, across = values.shape
    wide = max(13.0, min(26.0, 760 / across))
    high = max(1.0, min(wide, 14.0, 1400 / count))
    named = high >= 9
    left = 6.2 * min(34, max(map(len, rows))) + 10 if named else 6
    top = 5.1 * min(40, max(map(len, columns))) + 14
    # The last slanted name leans out to the right.
    width, height = left + wide * across + top * 0.62 + 8, top + high * count + 4
    parts = []
    for k, name in enumerate(columns):
        x = left + wide * (k + 0.5)
        parts.append(
            tag(
                "text", _short(name, 40), x=x, y=top - 5, font_size=10.5, fill=INK,
                transform=f"rotate(-60 {x:.1f} {top - 5:.1f})",
            )
        )  # fmt: skip
    if named:
        parts += [
            tag("text", _short(name, 34), x=left - 5, y=top + high * (i + 0.5) + 3.5, text_anchor="end",
                font_size=min(10.5, high), fill=INK)
            for i, name in enumerate(rows)
        ]  # fmt: skip
    if values.size > _MOST_CELLS:
        parts.append(_picture(values, paint, x=left, y=top, width=wide * across, height=high * count))
    else:
        parts += [
            tag("rect", tag("title", tell(i, k)), x=left + wide * k, y=top + high * i, width=wide, height=high,
                fill=paint(float(values[i, k])))
            for i in range(count)
            for k in range(across)
        ]  # fmt: skip
    if marked is not None:
        parts += [
            tag("circle", cx=left + wide * (k + 0.5), cy=top + high * (i + 0.5), r=1.8, fill=INK, stroke="#fff",
                stroke_width=0.8)
            for i, k in np.argwhere(marked).tolist()
        ]  # fmt: skip
    parts.append(tag("rect", x=left, y=top, width=wide * across, height=high * count, fill="none", stroke=RULE))
    return _svg(width, height, label, *parts)


def _picture(
    values: NDArray[np.float64], paint: Callable[[float], str], *, x: float, y: float, width: float, height: float
) -> Markup:
    pixels = np.array(
        [[[int(text[at : at + 2], 16) for at in (1, 3, 5)] for text in map(paint, row)] for row in values.tolist()],
        dtype=np.uint8,
    )
    sink = io.BytesIO()
    Image.fromarray(pixels).save(sink, "PNG", optimize=True)
    data = base64.b64encode(sink.getvalue()).decode()
    return tag(
        "image", x=x, y=y, width=width, height=height, href=f"data:image/png;base64,{data}",
        style="image-rendering:pixelated", preserveAspectRatio="none",
    )  # fmt: skip


def colour_bar(
    paint: Callable[[float], str], low: float, high: float, *, labels: Sequence[tuple[float, str]]
) -> Markup:
    """The legend of a heat map: colours from low to high with some labels below."""
    steps, width = 60, 240.0
    axis = Axis(low=low, high=high, start=30, width=width)
    parts = [
        tag("rect", x=30 + width * k / steps, y=2, width=width / steps + 0.5, height=12,
            fill=paint(low + (high - low) * (k + 0.5) / steps))
        for k in range(steps)
    ]  # fmt: skip
    parts += [
        tag("text", text, x=axis.at(value), y=28, text_anchor="middle", font_size=11, fill=INK)
        for value, text in labels
    ]
    return _svg(width + 90, 32, "legend of the colours", *parts)


def scatter(
    x: NDArray[np.float64], y: NDArray[np.float64], *, names: Sequence[str], title: str, subtitle: str
) -> Markup:
    """Accuracy in distribution (x) and under a condition (y), one dot for each variant that has both."""
    width, height, left, bottom, top = 250.0, 222.0, 44.0, 36.0, 34.0
    both = ~(np.isnan(x) | np.isnan(y))
    across = Axis.around(x[both], start=left, width=width - left - 8)
    up = Axis.around(y[both], start=height - bottom, width=-(height - bottom - top))
    parts = [
        tag("text", _short(title, 36), x=left, y=13, font_size=12, font_weight=600, fill=INK),
        tag("text", subtitle, x=left, y=27, font_size=11, fill="#4a5058"),
        tag("rect", x=left, y=top, width=across.width, height=-up.width, fill="none", stroke=RULE),
    ]
    for value in ticks(100 * across.low, 100 * across.high, most=4):
        at = across.at(value / 100)
        parts.append(tag("line", x1=at, x2=at, y1=height - bottom, y2=height - bottom + 4, stroke=INK))
        parts.append(
            tag("text", f"{value:g}", x=at, y=height - bottom + 15, text_anchor="middle", font_size=10.5, fill=INK)
        )
    for value in ticks(100 * up.low, 100 * up.high, most=5):
        at = up.at(value / 100)
        parts.append(tag("line", x1=left - 4, x2=left, y1=at, y2=at, stroke=INK))
        parts.append(tag("text", f"{value:g}", x=left - 7, y=at + 3.5, text_anchor="end", font_size=10.5, fill=INK))
    parts.append(
        tag("text", "in distribution, %", x=left + across.width / 2, y=height - 5, text_anchor="middle",
            font_size=10.5, fill="#4a5058")
    )  # fmt: skip
    opacity = 0.75 if both.sum() <= _MOST_TICKS else 0.35
    for i in np.flatnonzero(both).tolist():
        told = f"{names[i]}: {number(100 * float(x[i]))} → {number(100 * float(y[i]))} %"
        dot = tag(
            "circle", tag("title", told), cx=across.at(float(x[i])), cy=up.at(float(y[i])), r=2.8, fill=MARK,
            fill_opacity=opacity,
        )  # fmt: skip
        parts.append(dot)
    return _svg(width, height, f"{title} against in-distribution accuracy: {subtitle}", *parts)


def _short(text: str, most: int) -> str:
    return text if len(text) <= most else text[: most - 1] + "…"


def _svg(width: float, height: float, label: str, *parts: Markup, strip: bool = False) -> Markup:
    return tag(
        "svg",
        joined(parts),
        width=math.ceil(width),
        height=math.ceil(height),
        viewBox=f"0 0 {math.ceil(width)} {math.ceil(height)}",
        role="img",
        aria_label=label,
        # Strips get narrower in narrow windows, all by the same factor.
        class_="strip" if strip else None,
        preserveAspectRatio="none" if strip else None,
    )
