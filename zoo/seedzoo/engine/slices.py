"""Slices and groups of a user's examples, from what describes each of them."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from seedzoo.errors import RequestError

__all__ = ["CLASS_COLUMN", "SliceColumn", "check_slice_columns", "group_numbers", "slice_masks", "slice_name"]

CLASS_COLUMN = "class"
"""Stands for the classes themselves in the names of slices: ``class=bag``."""

_LONGEST_NAME = 200
_MOST_COLUMNS = 20
_MOST_VALUES = 1_000
_MOST_SLICE_BYTES = 1 << 20


class SliceColumn(Protocol):
    """What divides examples into slices, and the names of its slices."""

    @property
    def name(self) -> str:
        """What the user calls it."""
        ...

    @property
    def values(self) -> tuple[str, ...]:
        """Its slices; examples name them by position."""
        ...


def slice_name(column: str, value: str) -> str:
    """The name of a slice that is always its own."""
    return f"{column}={value}"


def check_slice_columns(columns: Sequence[SliceColumn]) -> None:
    """Raise RequestError unless these can be the slice columns of a dataset."""

    def require(condition: bool, rule: str) -> None:
        if not condition:
            raise RequestError(rule, field="slice_columns")

    require(len(columns) <= _MOST_COLUMNS, f"{len(columns)} slice columns are more than {_MOST_COLUMNS}")
    for column in columns:
        require(0 < len(column.name) <= _LONGEST_NAME,
                f"a slice column's name must have 1 to {_LONGEST_NAME} characters")  # fmt: skip
        require(0 < len(column.values) <= _MOST_VALUES and len(set(column.values)) == len(column.values),
                f"slice column {column.name!r} must have 1 to {_MOST_VALUES} slices, each once")  # fmt: skip
        require(all(0 < len(value) <= _LONGEST_NAME for value in column.values),
                f"the slices of column {column.name!r} must have names of 1 to {_LONGEST_NAME} characters")  # fmt: skip
    repeated = [name for name, count in Counter(column.name for column in columns).items() if count > 1]
    require(not repeated, f"slice column {''.join(repeated[:1])!r} is given twice")
    names = Counter(slice_name(column.name, value) for column in columns for value in column.values)
    own = slice_name(CLASS_COLUMN, "")
    taken = [name for name in (*names, *(value for column in columns for value in column.values))
             if name.startswith(own)]  # fmt: skip
    require(not taken, f"the slice {''.join(taken[:1])!r} would pass for a class of the task: rename it")
    shared = [name for name, count in names.items() if count > 1]
    require(not shared, f"two slices are both called {''.join(shared[:1])!r}: rename a column")
    require(sum(len(name.encode()) for name in names) <= _MOST_SLICE_BYTES,
            f"the names of all slices have more than {_MOST_SLICE_BYTES} bytes")  # fmt: skip


def group_numbers(given: NDArray[np.int64]) -> NDArray[np.int64] | None:
    """Group of each example int64 ``[n]``, or None where all are independent.

    Args:
        given: What the user named, int64 ``[n]``; an example with -1 is a group of its own.
    """
    alone = given < 0
    if alone.all():
        return None
    groups = given.copy()
    groups[alone] = given.max() + 1 + np.arange(int(alone.sum()))
    return groups


def slice_masks(
    columns: Sequence[SliceColumn],
    numbers_of: Callable[[str], NDArray[np.int64]],
    labels: NDArray[np.int64],
    classes: Sequence[str],
) -> Mapping[str, NDArray[np.bool_]]:
    """By name, which examples bool ``[n]`` belong to a slice.

    ``COLUMN=value`` always; ``value`` alone where it means one slice only; ``class=NAME`` for every class of which
    there are labelled examples. Each mask is made when it is asked for.

    Args:
        columns: What divides the examples.
        numbers_of: By a column's name the number of each example's slice, int64 ``[n]``.
        labels: Class index of each example ``[n]``, -1 where there is none.
        classes: The task's.
    """
    found: dict[str, tuple[NDArray[np.int64], int]] = {}
    numbers = {column.name: numbers_of(column.name) for column in columns}
    for column in columns:
        for number, value in enumerate(column.values):
            found[slice_name(column.name, value)] = (numbers[column.name], number)
    values = Counter(value for column in columns for value in column.values)
    for column in columns:
        for number, value in enumerate(column.values):
            if values[value] == 1:
                found.setdefault(value, (numbers[column.name], number))
    for label in np.unique(labels[labels >= 0]).tolist():
        found.setdefault(slice_name(CLASS_COLUMN, classes[label]), (labels, label))
    return _Masks(found)


class _Masks(Mapping[str, NDArray[np.bool_]]):
    """Masks by name; all of them at once would take n bytes for each of thousands of slices."""

    def __init__(self, found: Mapping[str, tuple[NDArray[np.int64], int]]) -> None:
        self._found = found

    def __getitem__(self, name: str) -> NDArray[np.bool_]:
        numbers, number = self._found[name]
        return np.asarray(numbers == number)

    def __iter__(self) -> Iterator[str]:
        return iter(self._found)

    def __len__(self) -> int:
        return len(self._found)
