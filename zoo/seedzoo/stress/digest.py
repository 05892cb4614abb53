"""The digest that a profile's file holds of its own contents: as of a JSON text of labels and rows.

The text has no spaces: ``[[["dataset","..."],...],[[row],...]]``, labels sorted, rows and their columns in order;
floats as texts of their shortest exact form, as nan and infinity have words there and none in JSON; null where a row
says nothing. It is put together column by column, where equal values are written out once.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from seedzoo.stress.arrow import number_array, text_array
from seedzoo.stress.columns import ProfileColumns

__all__ = ["profile_digest"]

_TEXT = pa.large_string()


def profile_digest(columns: ProfileColumns, labels: Mapping[str, str], written: Sequence[str]) -> str:
    """The SHA-256 of a profile as 64 lower-case hexadecimal digits.

    Args:
        columns: The profile's columns.
        labels: What else is signed.
        written: Names of the columns that the file has, in the schema's order.
    """
    digest = hashlib.sha256(f"[{json.dumps(sorted(labels.items()), separators=(',', ':'))},[".encode())
    if len(columns):
        rows = pc.binary_join_element_wise(*(_cells(columns, name) for name in written), _constant(","))
        digest.update(b"[")
        digest.update(_joined(rows, "],["))
        digest.update(b"]")
    digest.update(b"]]")
    return digest.hexdigest()


def _constant(text: str) -> Any:
    return text_array([text])[0]


def _cells(columns: ProfileColumns, name: str) -> Any:
    """A column's texts; one for all where it is empty, which of the variants' names is never told so."""
    array = columns.arrays[name]
    if name != "variant" and array.null_count == len(array):
        return _constant("null")
    texts = _listed(array) if pa.types.is_list(array.type) else _scalars(columns.cells(name))
    return pc.fill_null(texts, _constant("null")) if array.null_count else texts


def _scalars(coded: Any) -> Any:
    values = coded.dictionary.to_pylist()
    if pa.types.is_floating(coded.dictionary.type):
        texts = [f'"{value!r}"' for value in values]
    elif pa.types.is_integer(coded.dictionary.type):
        texts = list(map(str, values))
    else:
        texts = list(map(json.dumps, values))
    return text_array(texts).take(coded.indices)


def _listed(array: Any) -> Any:
    numbers = pc.cast(array.values, _TEXT)
    if numbers.null_count:
        numbers = pc.fill_null(numbers, _constant("null"))
    rows = pa.ListArray.from_arrays(array.offsets, numbers, mask=array.is_null())
    within = pc.binary_join(rows, _constant(","))
    return pc.binary_join_element_wise(_constant("["), within, _constant("]"), _constant(""))


def _joined(texts: Any, between: str) -> Any:
    whole = pa.ListArray.from_arrays(number_array(np.array([0, len(texts)], dtype=np.int32)), texts)
    return pc.binary_join(whole, _constant(between))[0].as_buffer()
