"""Numbers and words as people read them: percent with one decimal, differences in points."""

from __future__ import annotations

import math
import textwrap
from collections.abc import Sequence

from rich.console import Console, ConsoleOptions, RenderResult
from rich.table import Table
from rich.text import Text

from seedzoo.console import plain

__all__ = [
    "Paragraph",
    "about",
    "count",
    "level",
    "listing",
    "paragraph",
    "percent",
    "points",
    "ratio",
    "size",
    "styled",
    "table",
]

REPORT_WIDTH = 80
"""Reports for reading are no wider than this; narrower terminals get narrower reports."""


def percent(fraction: float) -> str:
    """``0.8234`` as ``82.3 %``."""
    return "n/a" if math.isnan(fraction) else f"{_round(100 * fraction):.1f} %"


def points(difference: float) -> str:
    """A difference of fractions in points, with its sign: ``+5.3``."""
    return "n/a" if math.isnan(difference) else f"{_round(100 * difference):+.1f}"


def ratio(value: float) -> str:
    """A signed multiple with one decimal: ``+0.4``."""
    return f"{_round(value):+.1f}"


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


def about(number: int) -> str:
    """Two significant digits of an estimate: ``10,000`` for 10,446."""
    scale = 10 ** max(len(str(abs(number))) - 2, 0)
    return f"{round(number / scale) * scale:,}"


class Paragraph:
    """Harmless text that wraps at :data:`REPORT_WIDTH` or at the width there is.

    Args:
        text: What it says.
        lead: Begins the first line; the others are indented by as much.
        style: As rich names it.
    """

    def __init__(self, text: str, *, lead: str = "", style: str = "") -> None:
        self._text = plain(text)
        self._lead = lead
        self._style = style

    def __rich_console__(self, console: Console, options: ConsoleOptions) -> RenderResult:
        """The wrapped lines."""
        lines = textwrap.wrap(
            self._lead + self._text,
            # Two columns go to the indentation around it.
            min(REPORT_WIDTH - 2, options.max_width),
            subsequent_indent=" " * len(self._lead),
            break_long_words=False,
            break_on_hyphens=False,
        )
        # A path or command stays in one piece where the terminal has room for it, and is folded where it has not.
        yield Text("\n".join(lines), style=self._style, overflow="fold", no_wrap=False)


def paragraph(text: str, *, lead: str = "", style: str = "") -> Paragraph:
    """Text of our own and of others, wrapped for a report; see :class:`Paragraph`."""
    return Paragraph(text, lead=lead, style=style)


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
