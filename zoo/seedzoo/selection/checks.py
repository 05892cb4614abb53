"""Validation of what callers pass to the statistical core; every failure is a plain ``ValueError``."""

from __future__ import annotations

import math
import numbers
import operator
from collections.abc import Hashable, Iterable, Sequence
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

__all__ = ["as_column", "as_group_codes", "as_scores", "check_int", "check_open", "check_open_unit"]


def check_open_unit(value: float, name: str) -> float:
    """The value as a float, if it lies strictly between 0 and 1.

    Raises:
        ValueError: It does not.
    """
    return check_open(value, name, high=1.0)


def check_open(value: float, name: str, *, high: float) -> float:
    """The value as a float, if it lies strictly between 0 and a limit, which may be infinite.

    Raises:
        ValueError: It does not, or is no single number.
    """
    given = value.item() if isinstance(value, np.ndarray) and value.ndim == 0 else value
    if not isinstance(given, numbers.Real):
        raise ValueError(f"{name} must be a number, got {value!r}")
    try:
        number = float(given)
    except OverflowError:
        number = math.inf
    if not 0.0 < number < high:
        where = "be positive and finite" if high == math.inf else f"lie strictly between 0 and {high:g}"
        raise ValueError(f"{name} must {where}, got {value!r}")
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
    if isinstance(values, np.ma.MaskedArray) and np.ma.getmaskarray(values).any():
        raise ValueError(f"{name} must not be masked: leave out the examples that lack a score")
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
        ValueError: No list, wrong length, a value that is not hashable, or NaN.
    """
    if not isinstance(groups, Iterable) or (isinstance(groups, np.ndarray) and groups.ndim == 0):
        raise ValueError(f"groups must have one entry per example ({n}), got {groups!r}")
    values = groups.tolist() if isinstance(groups, np.ndarray) else list(groups)
    if len(values) != n:
        raise ValueError(f"groups must have one entry per example ({n}), got {len(values)}")
    found: dict[Hashable, int] = {}
    try:
        codes = np.array([found.setdefault(value, len(found)) for value in values], dtype=np.intp)
        odd = any(not operator.eq(value, value) for value in found)
    except TypeError as error:
        raise ValueError(f"groups must be hashable values: {error}") from error
    if odd:  # NaN is equal to nothing, so each would be a group of its own
        raise ValueError("groups must not hold NaN")
    return codes
