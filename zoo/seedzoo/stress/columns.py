"""A profile's columns in memory, what is looked up in them, and the check of what they say.

Everything here works on whole columns: a profile of thousands of results would otherwise keep Python busy for long.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import fields
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from seedzoo.errors import DataError
from seedzoo.stress.arrow import null_mask, number_array, text_array, values_of
from seedzoo.stress.rows import ProfileRow

__all__ = ["PROFILE_SCHEMA", "ProfileColumns", "check_columns", "columns_of"]

PROFILE_SCHEMA = pa.schema(
    [
        pa.field("variant", pa.string(), nullable=False),
        pa.field("condition", pa.string(), nullable=False),
        pa.field("kind", pa.string(), nullable=False),
        pa.field("severity", pa.int8(), nullable=True),
        pa.field("n", pa.int32(), nullable=True),
        pa.field("correct", pa.int32(), nullable=True),
        pa.field("accuracy", pa.float64(), nullable=False),
        pa.field("accuracy_low", pa.float64(), nullable=True),
        pa.field("accuracy_high", pa.float64(), nullable=True),
        pa.field("log_loss", pa.float64(), nullable=True),
        pa.field("top5", pa.float64(), nullable=True),
        pa.field("brier", pa.float64(), nullable=True),
        pa.field("ece", pa.float64(), nullable=True),
        pa.field("class_n", pa.list_(pa.int32()), nullable=True),
        pa.field("class_correct", pa.list_(pa.int32()), nullable=True),
    ]
)

_TEXTS = ("variant", "condition", "kind")
_CLASSES = ("class_n", "class_correct")
_NOWHERE = number_array(np.array([-1], dtype=np.int32))[0]
_SAME = 1e-9
"""Accuracy and the share of what was counted differ by less."""


class ProfileColumns:
    """The N results of a profile by column.

    Args:
        table: Columns of `PROFILE_SCHEMA` in any order; those that measure more than accuracy may lack.

    Attributes:
        arrays: Each column by name, in the table's order, as one Arrow array [N].
        variants: The variants' names, in the order of their first result.
        conditions: The conditions' names, in the order of their first result.
        variant: intp [N], the variant of each result as its place in ``variants``.
        condition: intp [N], the condition of each result as its place in ``conditions``.

    Raises:
        UnicodeDecodeError: A text is no UTF-8.
    """

    def __init__(self, table: Any) -> None:
        self.arrays: dict[str, Any] = {str(name): table[name].combine_chunks() for name in table.column_names}
        self._texts = {name: self.arrays[name].dictionary_encode() for name in self.arrays if name in _TEXTS}
        names = {name: tuple(text.dictionary.to_pylist()) for name, text in self._texts.items()}
        self.variants: tuple[str, ...] = names["variant"]
        self.conditions: tuple[str, ...] = names["condition"]
        self.variant, self.condition = (
            values_of(pc.fill_null(self._texts[name].indices, _NOWHERE)).astype(np.intp)
            for name in ("variant", "condition")
        )

    def __len__(self) -> int:
        return len(self.variant)

    def numbers(self, name: str) -> NDArray[np.float64]:
        """A column of numbers, or ``worst_class``, as float64 [N]; NaN where there is none."""
        if name == "worst_class":
            return self._worst_class()
        if self.empty(name):
            return np.full(len(self), math.nan)
        return _numbers(self.arrays[name])

    def empty(self, name: str) -> bool:
        """Whether a column lacks or says nothing at all."""
        return name not in self.arrays or self.arrays[name].null_count == len(self)

    def absent(self, name: str) -> NDArray[np.bool_]:
        """Where a column says nothing, bool [N]; where NaN was measured it says something."""
        if self.empty(name):
            return np.ones(len(self), dtype=np.bool_)
        if not self.arrays[name].null_count:
            return np.zeros(len(self), dtype=np.bool_)
        return null_mask(self.arrays[name])

    def row(self, index: int) -> ProfileRow:
        """One result."""
        return self._rows({name: array.slice(index, 1) for name, array in self.arrays.items()})[0]

    def rows(self) -> tuple[ProfileRow, ...]:
        """All N results."""
        return self._rows(self.arrays)

    @staticmethod
    def _rows(arrays: dict[str, Any]) -> tuple[ProfileRow, ...]:
        values = {name: array.to_pylist() for name, array in arrays.items()}
        for name in _CLASSES:
            if name in values:
                values[name] = [None if value is None else tuple(value) for value in values[name]]
        # A frozen dataclass sets its fields one by one, for which a large profile would wait longer than for its
        # reading.
        rows = []
        for one in zip(*values.values(), strict=True):
            row = object.__new__(ProfileRow)
            row.__dict__.update(zip(values, one, strict=True))
            rows.append(row)
        return tuple(rows)

    def only(self, keep: NDArray[np.bool_]) -> ProfileColumns:
        """The results of a mask [N] alone."""
        return ProfileColumns(pa.table(self.arrays).take(number_array(np.flatnonzero(keep))))

    def renamed(self, variants: Sequence[str]) -> ProfileColumns:
        """The same results under other names of the variants, in the order of ``variants``."""
        names = text_array(variants).cast(pa.string()).take(number_array(self.variant))
        return ProfileColumns(pa.table({**self.arrays, "variant": names}))

    def cells(self, name: str) -> Any:
        """A column as a dictionary array [N], whose dictionary has each value once; of numbers by their bits."""
        if name in self._texts:
            return self._texts[name]
        array = self.arrays[name]
        if not pa.types.is_floating(array.type):
            return array.dictionary_encode()
        # Values that are equal and differ in their bits, as 0.0 and -0.0, stay apart.
        coded = array.view(pa.int64()).dictionary_encode()
        return pa.DictionaryArray.from_arrays(coded.indices, coded.dictionary.view(array.type))

    def classes(self) -> tuple[NDArray[np.intp], NDArray[Any], NDArray[Any]]:
        """Counts per class of the results that have both, equally many: result, examples and those right, each [C]."""
        if any(map(self.empty, _CLASSES)):
            return np.empty(0, dtype=np.intp), np.empty(0), np.empty(0)
        fit = np.flatnonzero(self.fitting())
        n, right = (self.arrays[name] for name in _CLASSES)
        if len(fit) < len(self):
            n, right = n.take(number_array(fit)), right.take(number_array(fit))
        counts, correct = (_numbers(array.flatten()) for array in (n, right))
        return fit[values_of(pc.list_parent_indices(n))], counts, correct

    def fitting(self) -> NDArray[np.bool_]:
        """Where a result has as many numbers in ``class_n`` as in ``class_correct``, bool [N]."""
        if any(map(self.empty, _CLASSES)):
            return np.zeros(len(self), dtype=np.bool_)
        lengths = [values_of(pc.fill_null(pc.list_value_length(self.arrays[name]), _NOWHERE)) for name in _CLASSES]
        return np.asarray((lengths[0] == lengths[1]) & (lengths[0] >= 0), dtype=np.bool_)

    def _worst_class(self) -> NDArray[np.float64]:
        where, n, right = self.classes()
        some = n > 0
        worst = np.full(len(self), math.inf)
        np.minimum.at(worst, where[some], right[some] / n[some])
        worst[np.isinf(worst)] = math.nan
        return worst


def _numbers(array: Any) -> NDArray[np.float64]:
    numbers = values_of(array).astype(np.float64)
    if array.null_count:
        numbers[null_mask(array)] = math.nan
    return numbers


def columns_of(rows: Sequence[ProfileRow]) -> ProfileColumns:
    """Rows as columns.

    Raises:
        DataError: A value does not fit its column.
    """
    columns = {field.name: [getattr(row, field.name) for row in rows] for field in fields(ProfileRow)}
    try:
        table = pa.table(columns, schema=PROFILE_SCHEMA)
    except (pa.ArrowInvalid, pa.ArrowTypeError, OverflowError) as error:
        raise DataError(f"a value does not fit its column of the profile: {error}") from error
    found = ProfileColumns(table)
    _require_told(found)
    return found


def _require_told(columns: ProfileColumns) -> None:
    for column in PROFILE_SCHEMA:
        if not column.nullable and columns.arrays[column.name].null_count:
            raise DataError(f"a value does not fit its column of the profile: {column.name} is missing")


def check_columns(columns: ProfileColumns) -> None:
    """Names, each variant once under each condition, and counts, accuracy and interval that fit each other.

    Raises:
        DataError: They do not; it names the first result that is wrong.
    """
    _require_told(columns)
    again, wrong = _repeated(columns), np.flatnonzero(~_possible(columns))
    if not len(again) and not len(wrong):
        return
    index = min([*again[:1].tolist(), *wrong[:1].tolist()])
    row = columns.row(index)
    where = f"{row.variant} under {row.condition}"
    if len(again) and again[0] == index:
        raise DataError(f"the profile has {where} twice")
    raise DataError(
        f"{where}: {row.correct} of {row.n} right, accuracy {row.accuracy}"
        f" in {row.accuracy_low} to {row.accuracy_high} is impossible"
    )


def _repeated(columns: ProfileColumns) -> NDArray[np.intp]:
    """Results of a variant and condition that had one before, in rising order."""
    cell = columns.variant * len(columns.conditions) + columns.condition
    order = np.argsort(cell, kind="stable")
    return np.sort(order[1:][cell[order[1:]] == cell[order[:-1]]])


def _possible(columns: ProfileColumns) -> NDArray[np.bool_]:
    accuracy = columns.numbers("accuracy")
    low, high = (
        np.where(columns.absent(name), accuracy, columns.numbers(name)) for name in ("accuracy_low", "accuracy_high")
    )
    # NaN fails each comparison, and so the check.
    inside = (low >= 0) & (low <= accuracy) & (accuracy <= high) & (high <= 1)
    n, correct = columns.numbers("n"), columns.numbers("correct")
    with np.errstate(divide="ignore", invalid="ignore"):
        counted = (correct >= 0) & (correct <= n) & (np.abs(accuracy - correct / n) < _SAME)
    uncounted = columns.absent("correct")
    told = np.where(columns.absent("n"), uncounted, (n >= 1) & (uncounted | counted))
    return inside & told & _possible_classes(columns)


def _possible_classes(columns: ProfileColumns) -> NDArray[np.bool_]:
    possible = columns.fitting() | (columns.absent("class_n") & columns.absent("class_correct"))
    where, n, right = columns.classes()
    possible[where[~((right >= 0) & (right <= n))]] = False
    return possible
