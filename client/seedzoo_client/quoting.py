"""What others wrote, as it is quoted in messages: never longer than a line bears."""

from __future__ import annotations

__all__ = ["brief", "quoted"]

_LONGEST = 60


def brief(text: str) -> str:
    """``text``, cut with ``…`` where it is longer than 60 characters."""
    return text if len(text) <= _LONGEST else f"{text[: _LONGEST - 1]}…"


def quoted(value: object) -> str:
    """The ``repr`` of a value, cut where it is long."""
    if isinstance(value, str):
        return repr(brief(value))
    try:
        return brief(repr(value))
    except ValueError:
        # Python writes no integer of more than 4,300 digits.
        return f"a very long {type(value).__name__}"
