"""Numbers as text, axis ticks, and colours that colour-blind readers can tell apart."""

from __future__ import annotations

import math
from collections.abc import Sequence

__all__ = ["INK", "MARK", "RULE", "colour", "diverging", "interval", "number", "p_text", "percent", "points", "ticks"]

INK = "#1b1f24"
MARK = "#1f5fa8"
RULE = "#d0d4da"

# Orange to blue over near-white, and dark blue to yellow; both also rise or fall evenly in grey.
_DIVERGING = ("#8a3b00", "#dd7d12", "#fbd4a4", "#f7f7f7", "#b4d0e7", "#4b8bc0", "#0b3c73")
_SEQUENTIAL = ("#00224e", "#2f4370", "#5f6472", "#8d8878", "#c0b06c", "#fde545")
_NONE = "#ffffff"


def percent(share: float, digits: int = 1) -> str:
    """A share as a percentage without sign, such as 90.6; a dash where there is none."""
    return "–" if math.isnan(share) else f"{100 * share:.{digits}f}"


def points(share: float, digits: int = 2) -> str:
    """A difference of shares in signed points."""
    return "–" if math.isnan(share) else f"{100 * share:+.{digits}f}".replace("-", "−")


def number(value: float, digits: int = 2) -> str:
    """A number with a true minus; a dash where there is none."""
    return "–" if not math.isfinite(value) else f"{value:.{digits}f}".replace("-", "−")


def interval(low: float, high: float, digits: int = 2) -> str:
    """An interval in brackets; empty where there is none."""
    if not (math.isfinite(low) and math.isfinite(high)):
        return ""
    return f"[{number(low, digits)}, {number(high, digits)}]"


def p_text(value: float) -> str:
    """A p-value; small ones as a bound."""
    if math.isnan(value):
        return "–"
    return "< .001" if value < 0.001 else f"{value:.3f}".removeprefix("0")


def ticks(low: float, high: float, *, most: int = 6) -> list[float]:
    """Round numbers within low..high, at most so many (at least 2), in steps of 1, 2 or 5 times a power of ten."""
    span = high - low
    if not span > 0:
        return [low]
    raw = span / most
    power = 10.0 ** math.floor(math.log10(raw))
    step = next(factor * power for factor in (1, 2, 5, 10) if factor * power >= raw * (1 - 1e-9))
    first = math.ceil(low / step - 1e-9)
    last = math.floor(high / step + 1e-9)
    return [k * step for k in range(first, last + 1)]


def diverging(value: float) -> str:
    """Colour of a number in -1..1; beyond, that of the end. White where there is none."""
    return colour(_DIVERGING, (value + 1) / 2)


def colour(stops: Sequence[str] | None, share: float) -> str:
    """Colour at a share of the way along some stops, dark to light by default; white for nan."""
    if math.isnan(share):
        return _NONE
    given = _SEQUENTIAL if stops is None else stops
    at = min(1.0, max(0.0, share)) * (len(given) - 1)
    k = min(int(at), len(given) - 2)
    return "#" + "".join(
        f"{round(_channel(given[k], c) * (1 - at + k) + _channel(given[k + 1], c) * (at - k)):02x}" for c in range(3)
    )


def _channel(text: str, index: int) -> int:
    return int(text[1 + 2 * index : 3 + 2 * index], 16)
