"""Validation of what callers pass to the statistical core; every failure is a plain ``ValueError``."""

from __future__ import annotations

import math
import operator
from collections.abc import Hashable, Sequence
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

__all__ = ["as_column", "as_group_codes", "as_scores", "check_int", "check_open_unit"]


def check_open_unit(value: float, name: str) -> float:
    """The value as a float, if it lies strictly between 0 and 1.

    Raises:
        ValueError: It does not.
    """
    number = float(value)
    if not 0.0 < number < 1.0:
        raise ValueError(f"{name} must lie strictly between 0 and 1, got {value!r}")
    return number


def check_int(value: Any, name: str, *, low: int, high: float = math.inf) -> int:
    """The value as an int in [low, high); anything that is not a whole number is refused.

    Raises:
        ValueError: It is not an integer or lies outside the range.
    """
    try:
        number = operator.index(value)
    except TypeError:
        raise ValueError(f"{name} must be an integer, got {value!r}") from None
    if not low <= number < high:
        above = "" if high == math.inf else f" and below {high}"
        raise ValueError(f"{name} must be at least {low}{above}, got {number}")
    return number


def _unit_floats(values: ArrayLike, name: str) -> NDArray[np.float64]:
    try:
        array = np.asarray(values)
    except ValueError as error:
        raise ValueError(f"{name} cannot be read as an array: {error}") from error
    if array.dtype.kind not in "bfiu":
        raise ValueError(f"{name} must be booleans or numbers, got dtype {array.dtype}")
    floats = array.astype(np.float64, copy=False)
    if floats.size and not (floats.min() >= 0.0 and floats.max() <= 1.0):  # NaN fails both comparisons
        raise ValueError(f"{name} must lie in [0, 1] and must not be NaN")
    return floats


def as_scores(scores: ArrayLike) -> NDArray[np.float64]:
    """Scores as floats.

    Args:
        scores: [n, M] booleans or numbers in [0, 1]: score of variant m on example i.

    Returns:
        [n, M] float64.

    Raises:
        ValueError: Not two-dimensional, no example, no variant, NaN, or outside [0, 1].
    """
    floats = _unit_floats(scores, "scores")
    if floats.ndim != 2:
        raise ValueError(f"scores must have two dimensions [examples, variants], got {floats.ndim}")
    n, variants = floats.shape
    if n == 0:
        raise ValueError("scores hold no example")
    if variants == 0:
        raise ValueError("scores hold no variant")
    return floats


def as_column(values: ArrayLike, *, n: int, name: str) -> NDArray[np.float64]:
    """One score per example.

    Args:
        values: [n] booleans or numbers in [0, 1].
        n: How many examples there are.
        name: What to call the values in an error.

    Returns:
        [n] float64.

    Raises:
        ValueError: Wrong shape, NaN, or outside [0, 1].
    """
    floats = _unit_floats(values, name)
    if floats.shape != (n,):
        raise ValueError(f"{name} must have shape ({n},), got {floats.shape}")
    return floats


def as_group_codes(groups: Sequence[Hashable] | NDArray[Any], *, n: int) -> NDArray[np.intp]:
    """Groups numbered 0, 1, ... in order of first appearance.

    Args:
        groups: [n] hashables; examples with equal values belong together.
        n: How many examples there are.

    Returns:
        [n] group numbers.

    Raises:
        ValueError: Wrong length, or a value that is not hashable.
    """
    values = groups.tolist() if isinstance(groups, np.ndarray) else list(groups)
    if len(values) != n:
        raise ValueError(f"groups must have one entry per example ({n}), got {len(values)}")
    numbers: dict[Hashable, int] = {}
    try:
        return np.array([numbers.setdefault(value, len(numbers)) for value in values], dtype=np.intp)
    except TypeError as error:
        raise ValueError(f"groups must be hashable values: {error}") from error
