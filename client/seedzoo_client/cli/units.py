"""How values of an objective are written: shares in percent and points, costs and losses as plain numbers."""

from __future__ import annotations

import math
import re
from dataclasses import dataclass

from seedzoo_client.cli.text import percent, points

__all__ = ["Unit"]

_PLAIN = frozenset({"log_loss", "brier", "cost"})
_NAME = re.compile(r"[a-z_0-9]+")


@dataclass(frozen=True, slots=True)
class Unit:
    """The unit of one objective or requirement.

    Attributes:
        name: The metric's name.
        share: Whether it is a share of something, 1 being all of it.
    """

    name: str
    share: bool

    @classmethod
    def of(cls, text: str) -> Unit:
        """The unit of an objective (``top_k:3``) or requirement (``accuracy[blurry] >= .8``)."""
        found = _NAME.match(text.strip())
        name = found.group() if found else text
        return cls(name=name, share=name not in _PLAIN)

    @property
    def of_gains(self) -> str:
        """For a table's head."""
        return " in points" if self.share else ""

    def value(self, value: float) -> str:
        """``82.3 %``, or ``0.431``."""
        return percent(value) if self.share else _number(value)

    def range(self, low: float, high: float) -> str:
        """``60.5 to 76.4 %``, or ``0.374 to 0.49``."""
        return f"{self.value(low).removesuffix(' %')} to {self.value(high)}"

    def gain(self, difference: float) -> str:
        """``+5.3`` points, or ``+0.041``."""
        if self.share:
            return points(difference)
        return "n/a" if math.isnan(difference) else f"{difference:+.3g}"

    def amount(self, difference: float) -> str:
        """``1 point``, ``2.5 points``, or ``0.01``."""
        if not self.share:
            return _number(difference)
        shown = f"{100 * difference:.3g}"
        return f"{shown} point{'s' * (shown != '1')}"


def _number(value: float) -> str:
    return "n/a" if math.isnan(value) else f"{value:.3g}"
