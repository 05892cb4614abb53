"""HTML and SVG as strings in which everything that is not markup already gets escaped."""

from __future__ import annotations

import html
from collections.abc import Iterable

__all__ = ["Markup", "joined", "tag"]

_VOID = frozenset({"meta", "link", "img", "br"})


class Markup(str):
    """Text that is markup; any other string is escaped where it is put in."""

    __slots__ = ()


def joined(parts: Iterable[str]) -> Markup:
    """Several parts one after the other, each escaped unless it is markup."""
    return Markup("".join(part if isinstance(part, Markup) else html.escape(str(part)) for part in parts))


def tag(name: str, /, *children: str, **attributes: str | float | None) -> Markup:
    """One element.

    Args:
        name: Of the element.
        *children: Escaped unless they are markup.
        **attributes: Escaped; underscores stand for hyphens, one at the end is dropped, None leaves it out. Numbers
            are cut to hundredths, which is finer than any screen.
    """
    parts = [
        f' {key.rstrip("_").replace("_", "-")}="{html.escape(_value(value))}"'
        for key, value in attributes.items()
        if value is not None
    ]
    if name in _VOID:
        return Markup(f"<{name}{''.join(parts)}>")
    return Markup(f"<{name}{''.join(parts)}>{joined(children)}</{name}>")


def _value(value: str | float) -> str:
    return value if isinstance(value, str) else f"{value:.2f}".rstrip("0").rstrip(".")
