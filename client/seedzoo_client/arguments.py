"""Arguments of calls: anything may be given from Python, and only what fits is passed on."""

from __future__ import annotations

import numbers
import operator
from collections.abc import Iterable, Sequence
from typing import Any

from seedzoo.errors import RequestError
from seedzoo_client.quoting import quoted

__all__ = ["as_names", "as_number", "as_text", "as_whole", "check_names"]


def as_text(value: Any, *, field: str, hint: str = "") -> str:
    """``value``, which must be text that can be sent, and not empty.

    Raises:
        RequestError: It is none.
    """
    if not isinstance(value, str):
        raise RequestError(f"{field} must be text, not {quoted(value)}", hint=hint, field=field)
    if not value.strip():
        raise RequestError(f"{field} is empty", hint=hint or "Name one, or leave it out.", field=field)
    try:
        value.encode()
    except UnicodeEncodeError as error:
        # Bytes of a command line in another encoding; protobuf would fail on them without a word.
        raise RequestError(f"{field}: {quoted(value)} is not UTF-8 text", hint="Type it again.", field=field) from error
    return value


def as_names(given: Any, *, field: str) -> tuple[str, ...]:
    """One name or several, as several: a lone text is not taken for its letters.

    Raises:
        RequestError: ``given`` is neither text nor texts.
    """
    if isinstance(given, str):
        return (as_text(given, field=field),)
    if not isinstance(given, Iterable) or isinstance(given, bytes):
        raise RequestError(f"{field} must be a text or several, not {quoted(given)}", field=field)
    return tuple(as_text(name, field=field) for name in given)


def as_number(value: Any, *, field: str) -> float:
    """``value`` as a float; numbers of numpy are numbers, truth values and texts are none.

    Raises:
        RequestError: It is no number.
    """
    if not isinstance(value, numbers.Real) or isinstance(value, bool):
        raise RequestError(f"{field} must be a number, not {quoted(value)}", field=field)
    try:
        return float(value)
    except OverflowError as error:
        raise RequestError(f"{field} is too large", field=field) from error


def as_whole(value: Any, *, field: str) -> int:
    """``value`` as an integer; those of numpy are integers, truth values are none.

    Raises:
        RequestError: It is no integer.
    """
    try:
        if isinstance(value, bool):
            raise TypeError
        return operator.index(value)
    except TypeError:
        raise RequestError(f"{field} must be a whole number, not {quoted(value)}", field=field) from None


def check_names(family: str | None, group: str | None, slices: str | Sequence[str]) -> tuple[str, ...]:
    """The columns of slices.

    Raises:
        RequestError: A name that is none.
    """
    for field, name in (("family", family), ("group", group)):
        if name is not None:
            as_text(name, field=field)
    return as_names(slices, field="slices")
