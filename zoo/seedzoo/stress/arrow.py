"""Between Arrow arrays and those of Python and numpy.

``pyarrow.array``, ``pyarrow.scalar`` and ``to_numpy`` import pandas where it is installed, only to ask whether any of
it was given to them: the first profile that a server reads would wait for that longer than for a hundred profiles, and
its memory would stay taken.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

__all__ = ["null_mask", "number_array", "text_array", "values_of"]


def number_array(numbers: NDArray[Any]) -> Any:
    """Numbers [N] as an Arrow array of their type."""
    held = np.ascontiguousarray(numbers)
    return pa.Array.from_buffers(pa.from_numpy_dtype(held.dtype), len(held), [None, pa.py_buffer(held)])


def text_array(texts: Sequence[str]) -> Any:
    """Texts [N] as an Arrow array of type large_string."""
    encoded = [text.encode() for text in texts]
    ends = np.cumsum([0, *map(len, encoded)], dtype=np.int64)
    buffers = [None, pa.py_buffer(ends), pa.py_buffer(b"".join(encoded))]
    return pa.Array.from_buffers(pa.large_string(), len(encoded), buffers)


def values_of(array: Any) -> NDArray[Any]:
    """The numbers [N] of an Arrow array, read-only; anything where it has null."""
    kind, buffer = np.dtype(array.type.to_pandas_dtype()), array.buffers()[1]
    if not len(array) or buffer is None:
        return np.zeros(len(array), dtype=kind)
    return np.frombuffer(buffer, dtype=kind, count=len(array), offset=array.offset * kind.itemsize)


def null_mask(array: Any) -> NDArray[np.bool_]:
    """Where an Arrow array has null, bool [N]."""
    return values_of(array.is_null().cast(pa.uint8())).astype(np.bool_)
