"""Numbers that a user gives for the task's classes: their shares among the images, and what mistakes cost."""

from __future__ import annotations

import csv
import io
import math
import numbers
import os
import re
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any, Protocol

from seedzoo.errors import DataError, RequestError
from seedzoo_client.labels import ClassMatcher, shorten
from seedzoo_client.pairs_file import PairsFile, read_text, separator_hint
from seedzoo_client.quoting import brief, quoted

__all__ = [
    "UNIFORM",
    "ClassProportions",
    "Costs",
    "check_costs",
    "cost_table",
    "proportions",
    "read_costs",
    "read_proportions",
]


class _Array(Protocol):
    """What numpy has."""

    def tolist(self) -> Any:
        """The numbers, in lists."""


UNIFORM = "uniform"
"""Every class as often as any other."""

ClassProportions = Mapping[str, float] | str | os.PathLike[str]
"""Class name to share, text such as ``bag=.3,coat=.7``, a CSV, JSON or TOML file, or ``uniform``."""

NamedCosts = Mapping[str, Mapping[str, float]] | str | os.PathLike[str]
"""True class to called class to cost, or a CSV file: called classes in its first row, true ones in its first column."""

Costs = NamedCosts | Sequence[Sequence[float]] | _Array
"""Costs by name, or an array ``[true class, called class]`` in the order of the task's classes."""

_SUM_TOLERANCE = 1e-3
_NUMBER = re.compile(r"[+-]?([0-9]+(\.[0-9]*)?|\.[0-9]+)([eE][+-]?[0-9]+)?")
_SHARES_FILE = PairsFile(
    "table of class proportions", ("class", "share"), '{"bag": 0.3, "coat": 0.7}', "PROPORTIONS_INVALID"
)
_WHOLE = "the class proportions"


def read_proportions(source: ClassProportions) -> dict[str, float] | None:
    """Read shares by the user's class names; None where all classes are equally frequent (``uniform``).

    Raises:
        DataError: The text or file cannot be read, or a share is no number from 0 to 1; says which.
        RequestError: ``source`` is neither mapping nor text nor path.
    """
    if not isinstance(source, Mapping | str | os.PathLike):
        raise RequestError(
            f"class_proportions must be a mapping, a text or a file, not {quoted(source)}",
            hint='Give for example {"bag": 0.3, "coat": 0.7}.',
            field="class_proportions",
        )
    if isinstance(source, Mapping):
        return _shares(source.items(), _WHOLE)
    if source == UNIFORM:
        return None
    if isinstance(source, str) and "=" in source and not _is_file(source):
        return _shares((_split(part) for part in source.split(",") if part.strip()), quoted(source))
    return _shares(_SHARES_FILE.read(source), str(source))


def proportions(source: ClassProportions, matcher: ClassMatcher) -> tuple[float, ...]:
    """Shares of the task's classes, in their order; classes that are not named have none.

    Args:
        source: What the user gave.
        matcher: Finds the task's class that a name means.

    Raises:
        DataError: As :func:`read_proportions`; a name is no class, two mean the same class, or the shares do not sum
            to 1 (rounding of .001 is allowed, and made up for).
    """
    given = read_proportions(source)
    if given is None:
        return (1.0 / len(matcher.classes),) * len(matcher.classes)
    found = _by_class(given, matcher, what="the table of class proportions")
    total = math.fsum(found.values())
    # The tolerance itself is allowed: a third is often written .333.
    if abs(total - 1.0) > _SUM_TOLERANCE + 1e-12:
        raise _bad_shares(
            f"the class proportions sum to {total:.4g}, not to 1", "Classes that are not named count as 0."
        )
    return tuple(found.get(index, 0.0) / total for index in range(len(matcher.classes)))


def _split(part: str) -> tuple[str, str]:
    name, equals, share = part.rpartition("=")
    if not equals:
        raise _bad_shares(
            f"the class proportion {quoted(part.strip())} has no share", "Write for example bag=.3,coat=.7."
        )
    return name.strip(), share.strip()


def _is_file(source: str) -> bool:
    try:
        return Path(source).is_file()
    except (OSError, ValueError):
        # Too long for a file name, or no file name at all.
        return False


def _shares(pairs: Iterable[tuple[Any, Any]], where: str) -> dict[str, float]:
    found: dict[str, float] = {}
    for name, value in pairs:
        share = _number(value)
        if not isinstance(name, str) or not name:
            raise _bad_shares(f"{where}: {quoted(name)} is no class name", "")
        if share is None or not 0 <= share <= 1:
            raise _bad_shares(
                f"{where}: the share of {quoted(name)} is {quoted(value)}, no number from 0 to 1", "Write 30 % as .3."
            )
        if name in found:
            raise _bad_shares(f"{where}: {quoted(name)} is named twice", "Name each class once.")
        found[name] = share
    if not found:
        raise _bad_shares(f"{where} names no class", "Write for example bag=.3,coat=.7.")
    return found


def check_costs(source: Costs) -> None:
    """Refuse costs that fit no task.

    Raises:
        DataError: As :func:`read_costs`; an array is no table of numbers.
        RequestError: ``source`` is nothing that costs are read from.
    """
    if isinstance(source, Mapping | str | os.PathLike):
        read_costs(source)
    else:
        _square(source)


def _square(source: object) -> list[float]:
    """The numbers of a square array, row by row."""
    tolist = getattr(source, "tolist", None)
    rows = tolist() if callable(tolist) else source
    if not isinstance(rows, list | tuple):
        raise RequestError(
            f"costs must be a mapping, an array or a file, not {quoted(source)}",
            hint='Give for example {"bag": {"bag": 0, "coat": 5}, "coat": {"bag": 1, "coat": 0}}.',
            field="costs",
        )
    table: list[float] = []
    for row in rows:
        if not isinstance(row, list | tuple) or len(row) != len(rows):
            raise _bad_costs(
                f"the array of costs has {len(rows)} rows, and one of them is {quoted(row)}",
                "Give a row for each true class and in it a cost for each called class, in the order of the classes.",
            )
        for value in row:
            cost = _number(value)
            if cost is None:
                raise _bad_costs(f"a cost in the array is {quoted(value)}, no number", "")
            table.append(cost)
    return table


def read_costs(source: NamedCosts) -> dict[str, dict[str, float]]:
    """Read costs by the user's class names: true class, then called class.

    Raises:
        DataError: The file cannot be read, or a cost is no number; says where.
    """
    if isinstance(source, Mapping):
        return _nested(source)
    path = Path(source)
    if path.suffix.lower() != ".csv":
        raise _bad_costs(f"{path} is no table of costs", "Give a .csv file: called classes in its first row.")
    text = read_text(path, what="table of costs", bad=_bad_costs)
    first_line = text.partition("\n")[0]
    delimiter = ";" if ";" in first_line and "," not in first_line else ","
    rows = csv.reader(io.StringIO(text, newline=""), delimiter=delimiter, strict=True)
    called: list[str] = []
    found: dict[str, dict[str, float]] = {}
    try:
        for row in rows:
            cells = [cell.strip() for cell in row]
            where = f"{path}, line {rows.line_num}"
            if not any(cells):
                continue
            if not called:
                called = _called(cells, where, separator_hint(first_line))
                continue
            if len(cells) != len(called) + 1:
                raise _bad_costs(
                    f"{where}: {len(cells)} columns instead of {len(called) + 1}",
                    separator_hint(first_line) or "The true class comes first, then one cost for each called class.",
                )
            if cells[0] in found:
                raise _bad_costs(f"{where}: the true class {quoted(cells[0])} comes twice", "Give each class one row.")
            found[cells[0]] = _cost_row(cells[0], zip(called, cells[1:], strict=True), where)
    except csv.Error as error:
        raise _bad_costs(f"{path}, line {rows.line_num}: {error}", "") from error
    if not found:
        raise _bad_costs(f"{path} holds no costs", "Its first row names the called classes, each other row one true.")
    return found


def _nested(source: Mapping[str, Mapping[str, float]]) -> dict[str, dict[str, float]]:
    for true, costs in source.items():
        if not (isinstance(true, str) and isinstance(costs, Mapping) and all(isinstance(name, str) for name in costs)):
            raise _bad_costs(
                f"the costs of {quoted(true)} are {quoted(costs)}, not called classes and numbers",
                'Give for each true class a mapping such as {"bag": 0, "coat": 5}.',
            )
    return {true: _cost_row(true, costs.items(), "the costs") for true, costs in source.items()}


def cost_table(source: Costs, matcher: ClassMatcher) -> tuple[float, ...]:
    """Cost of calling class i class j at ``i * classes + j``, in the order of the task's classes.

    Raises:
        DataError: As :func:`read_costs`; a name is no class, two mean the same class, or one is missing.
    """
    if not isinstance(source, Mapping | str | os.PathLike):
        flat = _square(source)
        if len(flat) != len(matcher.classes) ** 2:
            raise _bad_costs(
                f"the array of costs has {math.isqrt(len(flat))} rows, the task {len(matcher.classes)} classes",
                f"Their order is: {shorten(matcher.classes)}.",
            )
        return tuple(flat)
    given = read_costs(source)
    rows = _every(_by_class(given, matcher, what="the first column of the costs"), matcher, "a row for the true class")
    table: list[float] = []
    for index, row in enumerate(rows):
        true = matcher.classes[index]
        costs = _by_class(row, matcher, what=f"the row of costs of {brief(true)}")
        table += _every(costs, matcher, f"a cost of calling {quoted(true)}")
    return tuple(table)


def _called(cells: Sequence[str], where: str, hint: str) -> list[str]:
    called = list(cells[1:])
    for name in called:
        if not name or called.count(name) > 1:
            raise _bad_costs(
                f"{where}: the called class {quoted(name)} comes twice"
                if name
                else f"{where}: a called class has no name",
                "After its first cell, the first row names each class once.",
            )
    if not called:
        raise _bad_costs(
            f"{where}: no called classes", hint or "After its first cell, the first row names each class once."
        )
    return called


def _cost_row(true: str, cells: Iterable[tuple[str, Any]], where: str) -> dict[str, float]:
    found: dict[str, float] = {}
    for called, value in cells:
        cost = _number(value)
        if cost is None:
            raise _bad_costs(
                f"{where}: the cost of calling {quoted(true)} {quoted(called)} is {quoted(value)}, no number", ""
            )
        found[called] = cost
    return found


def _by_class(given: Mapping[str, Any], matcher: ClassMatcher, *, what: str) -> dict[int, Any]:
    stranger = matcher.unknown(given, source=what)
    if stranger is not None:
        raise stranger
    found: dict[int, Any] = {}
    named: dict[int, str] = {}
    for name, value in given.items():
        index = matcher.index(name)
        if index is None:
            continue
        if index in named:
            raise DataError(
                f"{quoted(named[index])} and {quoted(name)} in {what} both mean "
                f"the class {quoted(matcher.classes[index])}",
                hint="Name each class once.",
                reason="CLASS_TWICE",
            )
        named[index] = name
        found[index] = value
    return found


def _every(found: Mapping[int, Any], matcher: ClassMatcher, what: str) -> list[Any]:
    missing = [name for index, name in enumerate(matcher.classes) if index not in found]
    if missing:
        raise _bad_costs(
            f"the costs lack {what}: {shorten(missing, 5, quote=True)}", "Every class of the task needs its costs."
        )
    return [found[index] for index in range(len(matcher.classes))]


def _number(value: object) -> float | None:
    if isinstance(value, str):
        number = float(value) if _NUMBER.fullmatch(value) else math.nan
    elif isinstance(value, numbers.Real) and not isinstance(value, bool):
        try:
            number = float(value)
        except OverflowError:
            return None
    else:
        return None
    return number if math.isfinite(number) else None


def _bad_shares(message: str, hint: str) -> DataError:
    return DataError(message, hint=hint, reason="PROPORTIONS_INVALID")


def _bad_costs(message: str, hint: str) -> DataError:
    return DataError(message, hint=hint, reason="COSTS_INVALID")
