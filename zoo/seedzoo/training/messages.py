"""What another library's exception says, in one line."""

from __future__ import annotations

__all__ = ["first_line"]


def first_line(error: BaseException) -> str:
    """Its first line; its type where it says nothing."""
    return next(iter(str(error).strip().splitlines()), "") or type(error).__name__
