"""Parts of predictions as the arrays of one file, and back."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from seedzoo.engine.predictions import Conversion, PredictionPart

__all__ = ["part_arrays", "parts_of"]


def part_arrays(parts: Sequence[PredictionPart]) -> dict[str, NDArray[Any]]:
    """Arrays by name, for :func:`numpy.savez`; none of them needs pickle."""
    arrays: dict[str, NDArray[Any]] = {}
    for number, part in enumerate(parts):
        arrays[f"rows{number}"] = part.rows
        arrays[f"variants{number}"] = part.variants
        arrays[f"probabilities{number}"] = part.probabilities
        arrays[f"colours{number}"] = np.array([each.colour_change for each in part.conversions], dtype=np.str_)
        arrays[f"sizes{number}"] = np.array([each.resized_from or (0, 0) for each in part.conversions], dtype=np.int32)
    return arrays


def parts_of(arrays: Mapping[str, NDArray[Any]]) -> Iterator[PredictionPart]:
    """The parts in such arrays.

    Raises:
        KeyError: An array is missing.
        ValueError: Arrays of a part do not fit each other.
    """
    number = 0
    while f"rows{number}" in arrays:
        # As lists: numpy's own items are many times slower to look at.
        colours, sizes = arrays[f"colours{number}"].tolist(), arrays[f"sizes{number}"].tolist()
        yield PredictionPart(
            rows=arrays[f"rows{number}"],
            variants=arrays[f"variants{number}"],
            probabilities=arrays[f"probabilities{number}"],
            conversions=[
                Conversion(colour, (width, height) if width or height else None)
                for colour, (width, height) in zip(colours, sizes, strict=True)
            ],
        )
        number += 1
