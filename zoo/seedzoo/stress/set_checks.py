"""Whether sets of images can be measured: refused before anything is evaluated."""

from __future__ import annotations

from collections.abc import Collection, Sequence

import numpy as np

from seedzoo.errors import DataError, RequestError
from seedzoo.stress.evaluation_set import EvaluationSet

__all__ = ["check_set", "check_slices"]

_MOST_VALUES = 1000
"""Slices of one column: each is a condition with a row for every variant."""


def check_set(one: EvaluationSet, classes: int) -> None:
    """Raise DataError where a set does not fit the classes or itself."""
    labels = one.images.labels
    count = len(labels)
    faults = {
        "it has no images": count == 0,
        f"a label is not among the {classes} classes": count > 0 and not 0 <= labels.min() <= labels.max() < classes,
        f"accepted is not [{count}, {classes}]": one.accepted is not None and one.accepted.shape != (count, classes),
        f"anchors is not [{count}]": one.anchors is not None and one.anchors.shape != (count,),
        "a column has another number of values than there are images": any(
            len(values) != count for values in one.slices.values()
        ),
        "a label is not among the candidates": one.candidates is not None and not np.isin(labels, one.candidates).all(),
        "the candidates are not ascending": one.candidates is not None and bool((np.diff(one.candidates) <= 0).any()),
    }
    for text, found in faults.items():
        if found:
            raise DataError(f"the set {one.name} cannot be used: {text}", reason="SET_INVALID")


def check_slices(sets: Sequence[EvaluationSet], slices: Collection[str]) -> None:
    """Raise RequestError where no set has such a column, or one has too many values."""
    known = sorted({column for one in sets for column in one.slices})
    for column in slices:
        if column not in known:
            raise RequestError(
                f"no set has a column {column!r} to slice by",
                hint=f"There are: {', '.join(known)}." if known else "Slices need a manifest with more columns.",
                field="slices",
            )
        for one in sets:
            count = len(set(one.slices.get(column, ())))
            if count > _MOST_VALUES:
                raise RequestError(
                    f"the column {column!r} of {one.name} has {count:,} values, and slices are made of at most"
                    f" {_MOST_VALUES:,}",
                    hint="Slice by a column that groups images, such as the camera.",
                    field="slices",
                )
