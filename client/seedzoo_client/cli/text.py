"""Numbers and words as people read them: percent with one decimal, differences in points."""

from __future__ import annotations

import math
from collections.abc import Sequence

from rich.table import Table
from rich.text import Text

from seedzoo.console import plain

__all__ = ["count", "level", "listing", "percent", "points", "size", "styled", "table"]

REPORT_WIDTH = 80
"""Reports for reading keep to this width wherever they are shown."""


def percent(fraction: float) -> str:
    """``0.8234`` as ``82.3 %``."""
    return "n/a" if math.isnan(fraction) else f"{_round(100 * fraction):.1f} %"


def points(difference: float) -> str:
    """A difference of fractions in points, with its sign: ``+5.3``."""
    return "n/a" if math.isnan(difference) else f"{_round(100 * difference):+.1f}"


def level(alpha: float) -> str:
    """The coverage of an interval: ``95 %`` for 0.05."""
    return f"{100 * (1 - alpha):.4g} %"


def count(number: int, noun: str) -> str:
    """``1 image``, ``1,200 images``."""
    return f"{number:,} {noun}" if number == 1 else f"{number:,} {noun}s"


def listing(names: Sequence[str], *, limit: int = 5) -> str:
    """The first names, and how many more there are."""
    shown = ", ".join(plain(name) for name in names[:limit])
    return shown if len(names) <= limit else f"{shown} and {len(names) - limit} more"


def size(n_bytes: int) -> str:
    """``285 KB``."""
    value = float(n_bytes)
    for unit in ("bytes", "KB", "MB"):
        if value < 1000:
            return f"{value:.0f} {unit}"
        value /= 1000
    return f"{value:.1f} GB"


def styled(text: str, style: str = "") -> Text:
    """Text from elsewhere, made harmless."""
    return Text(plain(text), style=style)


def table(*columns: str, left: int = 1) -> Table:
    """A table without frame; the first ``left`` columns hold words, the others numbers."""
    made = Table(box=None, pad_edge=False, header_style="bold", padding=(0, 2, 0, 0))
    for position, name in enumerate(columns):
        # Cut names cannot be copied into the next command.
        made.add_column(name, justify="left" if position < left else "right", overflow="fold")
    return made


def _round(value: float) -> float:
    # Adding zero turns -0.0 into 0.0.
    return round(value, 1) + 0.0
